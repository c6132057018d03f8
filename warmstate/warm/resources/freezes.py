"""
How many freezes this process has been through, for what lives outside any handler: pooled connections, above all.

A freeze happens to the whole process, so this is the process's own fact and the only state that a module of warmstate keeps.
"""

from __future__ import annotations

__all__ = ["count", "ended"]

_freezes = 0


def ended(frozen_for: float) -> None:
    """A freeze of so many seconds just ended; told by whoever noticed it, before anything of the user runs."""
    global _freezes
    if frozen_for > 0.0:
        _freezes += 1


def count() -> int:
    """How many freezes have ended; what was opened under a smaller number crossed one."""
    return _freezes
