"""What a long measurement says on its way."""

from __future__ import annotations

import sys
import time

__all__ = ["minutes", "say"]

BEGAN = time.monotonic()


def minutes() -> float:
    """Minutes since the program began."""
    return (time.monotonic() - BEGAN) / 60


def say(what: str) -> None:
    """One line with the time since the start, on the error stream: the tables go to the other one."""
    whole, rest = divmod(int(time.monotonic() - BEGAN), 60)
    print(f"{whole:>3}:{rest:02} {what}", file=sys.stderr, flush=True)
