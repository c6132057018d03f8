"""
What values cost in memory: an honest estimate per value, and a guard that corrects the sum by what the process really uses.

1. An encoded length says nothing about memory: the same records take ten times more as Python objects.
2. `sys.getsizeof` sees one object only, so containers are walked. Large ones are sampled at even steps, which costs a
   fraction of a millisecond and is right within a few percent for records of one kind.
3. No estimate sees everything (memory of C libraries, fragmentation), so `ResidentGuard` compares with the kernel's count.
"""

from __future__ import annotations

import os
import sys
from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["CANNOT_CHANGE", "ResidentGuard", "resident_bytes", "size_of"]

CANNOT_CHANGE = frozenset((bytes, str, int, float, bool, complex, type(None)))
"""Types whose values never change in place, so neither do their sizes."""

_BYTES_OVERHEAD = sys.getsizeof(b"")
_NODES = 2_000
"""So many objects are looked at in one value at most: about a quarter of a millisecond."""
_FEWEST = 8  # items looked at in a container, if it has so many
_DEEPEST = 60
_ATTRIBUTES_BYTES = 104 if sys.version_info < (3, 11) else 0  # before, each object had a dictionary with shared keys
_UNSEEN = 64  # bytes assumed for an object that was not looked at any more
_ITERABLE = frozenset((list, tuple, set, frozenset))
_MALLOC_STEP = 16  # both of CPython's allocators round up to this


def size_of(value: object) -> int:
    """Bytes of memory that `value` and all it refers to take, about; shared parts count once."""
    kind = type(value)
    if kind is bytes:
        return len(value) + _BYTES_OVERHEAD  # type: ignore[arg-type]  # told by `kind`
    if kind in CANNOT_CHANGE:
        return sys.getsizeof(value)
    return int(_Walk().size(value, _NODES // 2))


class _Walk:
    """One estimate: the objects already counted, and how many more may be looked at."""

    __slots__ = ("depth", "left", "seen")

    def __init__(self) -> None:
        self.depth = 0
        self.left = _NODES
        self.seen: set[int] = set()

    def size(self, value: object, share: int) -> float:
        """Estimate `value`; `share` is how many objects of its subtree may be looked at."""
        if id(value) in self.seen:
            return 0.0
        self.left -= 1
        if self.left < 0 or self.depth > _DEEPEST:
            return _UNSEEN
        self.seen.add(id(value))
        own = float(_own_size(value))
        if type(value) in CANNOT_CHANGE or isinstance(value, bytearray):
            return own
        self.depth += 1
        try:
            return own + self._inside(value, share)
        finally:
            self.depth -= 1

    def _sampled(self, items: Iterable[Any], count: int, share: int, *, pairs: bool = False) -> float:
        if not count:
            return 0.0
        wanted = min(count, max(_FEWEST, int(share**0.5)))
        step = max(1, count // wanted)
        each = max(1, share // wanted)
        total = 0.0
        looked = 0
        for item in islice(items, 0, None, step):
            looked += 1
            total += self.size(item[0], each) + self.size(item[1], each) if pairs else self.size(item, each)
        return total * count / looked if looked else 0.0

    def _inside(self, value: Any, share: int) -> float:
        """What an object of any other kind holds: buffers, attributes, slots, or the items of a container subclass."""
        nbytes: Any = getattr(value, "nbytes", None)
        if type(nbytes) is int:  # an array or a memoryview, which getsizeof counts only if it owns its memory
            return max(0, nbytes - _own_size(value))
        total = 0.0
        mro = type(value).__mro__
        if dict in mro:
            total += self._sampled(value.items(), len(value), share, pairs=True)
        elif not _ITERABLE.isdisjoint(mro) or type(value).__module__ == "collections":
            total += self._sampled(value, len(value), share)
        attributes: dict[str, Any] | None = getattr(value, "__dict__", None)
        if attributes is not None and type(attributes) is dict:
            # The names are the class's, and CPython keeps the values in a compact array.
            total += (
                _ATTRIBUTES_BYTES + 8 * len(attributes) + self._sampled(attributes.values(), len(attributes), share)
            )
        for base in mro:
            slots: Any = base.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in {"__dict__", "__weakref__"}:
                    held = getattr(value, name, None)
                    if held is not None:
                        total += self.size(held, max(1, share // 2))
        return total


def _own_size(value: object) -> int:
    try:
        own = sys.getsizeof(value)
    except Exception:  # noqa: BLE001 - a user's __sizeof__ may raise anything
        own = _UNSEEN
    return own + (-own % _MALLOC_STEP)


def resident_bytes() -> int | None:
    """Bytes of memory that this process really uses now (Linux's RSS), or None where the kernel does not tell."""
    try:
        fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(fd, 128).split()
        finally:
            os.close(fd)
    except OSError:
        return None
    return int(fields[1]) * _PAGE


_PAGE = os.sysconf("SC_PAGE_SIZE")


class ResidentGuard:
    """
    Learns how much more memory the store's values take than their estimates say.

    Between two looks the process grew by so much, and the store took in so much. Growth that the estimates do not explain is
    the store's `debt`, as far as the store took in anything: an estimate may be three times too low, but what the process
    grew while the store stood still is somebody else's. The debt shrinks as the process does.
    """

    __slots__ = ("_accounted", "_resident", "debt")

    _AT_MOST = 3

    def __init__(self, accounted: int = 0) -> None:
        self._resident = resident_bytes()
        self._accounted = accounted
        self.debt = 0

    def __repr__(self) -> str:
        return f"<ResidentGuard debt={self.debt}>"

    def look(self, accounted: int, taken_in: int) -> int:
        """The debt now, in bytes: `accounted` is the store's own sum, `taken_in` what was added to it since the last look."""
        resident = resident_bytes()
        if resident is None or self._resident is None:
            return 0
        unexplained = (resident - self._resident) - (accounted - self._accounted)
        if unexplained > 0:
            unexplained = min(unexplained, self._AT_MOST * taken_in)
        self.debt = max(0, min(self.debt + unexplained, self._AT_MOST * accounted))
        self._resident = resident
        self._accounted = accounted
        return self.debt
