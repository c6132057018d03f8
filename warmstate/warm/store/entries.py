"""What the store keeps of one key: its value or where that is, how big it is, when it ends, how it was used."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from warmstate.lifecycle.clock import Clock
    from warmstate.warm.spill.spilled import Spilled

    Key: TypeAlias = "str | tuple[Space, str]"

__all__ = ["ENTRY_BYTES", "LEFT_BYTES", "Entry", "Expiry", "Key", "Space", "name_of"]

if not TYPE_CHECKING:
    Key = object

ENTRY_BYTES = 320
"""Bytes of bookkeeping for one key: its entry, its str, its place in the order of use (measured on CPython 3.10 to 3.13)."""
LEFT_BYTES = 320
"""Bytes that stay in memory of a value that is spilled: the receipt, and what decodes it."""

_CLOCK_FAULT = 5.0
"""Seconds by which the wall clock may run backwards before what depends on it counts as over."""


GONE: Any = object()
"""Stands for a value that has left memory."""


class Space:
    """A namespace of one tenant; being this object and no other is what gives access to its keys."""

    __slots__ = ("name", "tenant")

    def __init__(self, name: str, tenant: str | None) -> None:
        self.name = name
        self.tenant = tenant

    def __repr__(self) -> str:
        return f"<Space {self.name!r}>"


class Expiry:
    """The end of a value on both clocks: it is over as soon as either says so."""

    __slots__ = ("mono", "set_at", "wall")

    def __init__(self, ttl: float, clock: Clock) -> None:
        if type(ttl) not in {int, float} or ttl != ttl:  # noqa: PLR0124 - only NaN differs from itself
            raise TypeError(f"ttl={ttl!r}: write seconds, or None for no end")
        self.set_at = clock.wall()
        self.wall = self.set_at + ttl
        self.mono = clock.monotonic() + ttl

    def __repr__(self) -> str:
        return f"<Expiry {self.wall - self.set_at:g} s after {self.set_at:.3f}>"

    def is_over(self, clock: Clock) -> bool:
        """Whether it has passed; a wall clock that ran backwards cannot tell, so that counts as passed."""
        wall = clock.wall()
        return wall >= self.wall or clock.monotonic() >= self.mono or wall < self.set_at - _CLOCK_FAULT


class Entry:
    """
    One key's value in memory (`spilled` is None), or the receipt for it.

    `size` is what the value takes in memory, `overhead` the key and the bookkeeping, both in bytes.
    A resident entry without an end may be read without a lock, so its `value` changes in one step, and `expiry` never; while
    the value is on the disk, it is GONE.
    """

    __slots__ = (
        "decode",
        "expiry",
        "hits",
        "mapped",
        "overhead",
        "pinned",
        "since",
        "size",
        "spilled",
        "value",
        "writable",
    )

    def __init__(self, value: object, size: int, overhead: int, since: float, expiry: Expiry | None) -> None:
        self.value = value
        self.size = size
        self.overhead = overhead
        self.since = since
        self.expiry = expiry
        self.hits = 0
        self.pinned = False
        self.writable = True
        self.spilled: Spilled | None = None
        self.decode: Callable[[Any], object] | None = None
        self.mapped = False

    def __repr__(self) -> str:
        return f"<Entry {self.size} bytes, {'memory' if self.spilled is None else 'tmp'}, {self.hits} hits>"

    def leave(self, spilled: Spilled, decode: Callable[[Any], object], *, mapped: bool) -> None:
        """The value is on the disk now: keep the receipt and what decodes it."""
        self.spilled = spilled
        self.decode = decode
        self.mapped = mapped
        self.value = GONE

    def arrive(self, value: object) -> None:
        """The value is in memory again."""
        self.value = value
        self.spilled = None
        self.decode = None
        self.mapped = False

    def info(self, tier: str, clock: Clock) -> dict[str, object]:
        """Tier, bytes, seconds and counts as plain values; never the value."""
        return {
            "tier": tier,
            "nbytes": self.size,
            "age": round(max(0.0, clock.monotonic() - self.since), 3),
            "expires_in": None if self.expiry is None else round(self.expiry.wall - clock.wall(), 3),
            "hits": self.hits,
            "dirty": self.spilled is None,
            "pinned": self.pinned,
        }


def name_of(key: Key) -> str:
    """The name that the user gave a key."""
    return key if isinstance(key, str) else key[1]
