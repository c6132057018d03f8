"""What the store keeps of one key: its value or where that is, how big it is, when it ends, how it was used."""

from __future__ import annotations

from warmstate.warm.sizes import CANNOT_CHANGE, size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from warmstate.lifecycle.clock import Clock
    from warmstate.warm.spill.spilled import Spilled

    Key: TypeAlias = "str | tuple[Space, str]"

__all__ = ["ENTRY_BYTES", "GONE", "LEFT_BYTES", "Entry", "Expiry", "Key", "Period", "Space", "name_of", "size_in_store"]

if not TYPE_CHECKING:
    Key = object

ENTRY_BYTES = 368
"""
Bytes of bookkeeping for one key: its entry, its str, its place in the order of use (measured on CPython 3.10 to 3.13), and what
`size_in_store` leaves out.
"""
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


class Period:
    """The time between two settlings, as a value's time of writing: to keep it costs less than to read a clock."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended: float | None = None

    def __repr__(self) -> str:
        return f"<Period {'now' if self.ended is None else f'until {self.ended:.3f}'}>"


class Entry:
    """
    One key's value in memory (`spilled` is None), or the receipt for it.

    `size` is what the value takes in memory, `overhead` the key and the bookkeeping, both in bytes; `since` is when it was written.
    `fixed` says that the value cannot change in place, and `stamp` when it was last moved to the end of the order of use.

    Readers have no lock, and one may still look at an entry that others take away. So `expiry` and `fixed` never change, and a
    value that goes to the disk goes with another entry: this one keeps a fixed value, and another becomes GONE here.
    """

    __slots__ = (
        "decode",
        "expiry",
        "fixed",
        "hits",
        "mapped",
        "overhead",
        "pinned",
        "since",
        "size",
        "spilled",
        "stamp",
        "value",
        "writable",
    )

    def __init__(self, value: object, size: int, overhead: int, since: Period, expiry: Expiry | None) -> None:
        self.value = value
        self.size = size
        self.overhead = overhead
        self.since = since
        self.expiry = expiry
        self.fixed = type(value) in CANNOT_CHANGE
        self.stamp: object = None
        self.hits = 0
        self.pinned = False
        self.writable = True
        self.spilled: Spilled | None = None
        self.decode: Callable[[Any], object] | None = None
        self.mapped = False

    def __repr__(self) -> str:
        return f"<Entry {self.size} bytes, {'memory' if self.spilled is None else 'tmp'}, {self.hits} hits>"

    def leave(self, spilled: Spilled, decode: Callable[[Any], object], *, mapped: bool) -> Entry:
        """The value is on the disk now: the entry with the receipt and what decodes it."""
        left = self._moved(None)
        left.spilled = spilled
        left.decode = decode
        left.mapped = mapped
        if not self.fixed:
            self.value = GONE  # who got it from here could change what nobody would see
        return left

    def arrive(self, value: object) -> Entry:
        """The value is in memory again: the entry that holds it."""
        return self._moved(value)

    def _moved(self, value: object) -> Entry:
        moved = Entry(value, self.size, self.overhead, self.since, self.expiry)
        moved.hits = self.hits
        return moved

    def info(self, tier: str, clock: Clock) -> dict[str, object]:
        """
        Tier, bytes, seconds and counts as plain values; never the value.

        The age counts from the end of the invocation that wrote the value, and is 0 before that.
        """
        ended = self.since.ended
        return {
            "tier": tier,
            "nbytes": self.size,
            "age": 0.0 if ended is None else round(max(0.0, clock.monotonic() - ended), 3),
            "expires_in": None if self.expiry is None else round(self.expiry.wall - clock.wall(), 3),
            "hits": self.hits,
            "dirty": self.spilled is None,
            "pinned": self.pinned,
        }


def size_in_store(value: object) -> int:
    """Bytes of memory that a value takes; those of a bytes object without its head, so that a write of one has nothing to add."""
    return len(value) if type(value) is bytes else size_of(value)


def name_of(key: Key) -> str:
    """The name that the user gave a key."""
    return key if isinstance(key, str) else key[1]
