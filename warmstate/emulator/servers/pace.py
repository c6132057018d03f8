"""
How fast and how far a streamed answer may run: 6 MB at once, then 2 MB a second, 200 MB in all.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
"""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["STREAM_LIMIT", "Pace"]

STREAM_LIMIT: Final = 200 << 20
"""Bytes of a streamed answer."""
BURST: Final = 6 << 20
RATE: Final = 2 << 20


class Pace:
    """A bucket of `BURST` bytes that is refilled with `RATE` bytes a second."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = asyncio.get_running_loop().time()

    async def take(self, size: int) -> None:
        """Wait until `size` more bytes may pass."""
        now = asyncio.get_running_loop().time()
        self._left = min(BURST, self._left + (now - self._at) * RATE) - size
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / RATE)
