"""What the runtime says about itself, kept for tests to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmstate.lifecycle.notices import Notices

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Told"]


class Told(Notices):
    """
    Keeps (level, message) of everything that was said.

    Args:
        listener: Called with each.
    """

    __slots__ = ("_keys", "_listener", "said")

    def __init__(self, listener: Callable[[str, str], object]) -> None:
        self._listener = listener
        self.said: list[tuple[str, str]] = []
        self._keys: set[str] = set()

    def info(self, message: str, **fields: object) -> None:
        """Keep it."""
        self._keep("info", message)

    def warning(self, message: str, **fields: object) -> None:
        """Keep it."""
        self._keep("warning", message)

    def error(self, message: str, **fields: object) -> None:
        """Keep it."""
        self._keep("error", message)

    def once(self, key: str, message: str, **fields: object) -> None:
        """Keep it the first time."""
        if key not in self._keys:
            self._keys.add(key)
            self._keep("warning", message)

    def _keep(self, level: str, message: str) -> None:
        self.said.append((level, message))
        self._listener(level, message)
