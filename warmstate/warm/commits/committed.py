"""What the ledger knows of one committed slot: its last commit, and how to tell whether its value has changed since."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

import sys

from warmstate.warm.slot import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from warmstate.warm.codecs.codec import Codec
    from warmstate.warm.codecs.form import Buffer
    from warmstate.warm.slot import State

__all__ = ["EXACT", "LARGE", "Cell", "cut", "digest_of", "is_fixed"]

EXACT = frozenset((type(None), bool, int, str, bytes))
"""Types of which equal values of one type are the same value: a digest has nothing to add. (0.0 and -0.0 are equal.)"""
LARGE = 4096
"""Bytes from which on a digest costs more than a write that it may save; below, the bytes themselves are kept instead of one."""
_FIXED = EXACT | {float, complex}
_FIXED_NAMES = frozenset(
    ("datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "decimal.Decimal", "uuid.UUID")
)


class Cell:
    """
    The last commit of one slot.

    `value` is MISSING when the object in memory may have changed since, so that the next read decodes a new one.
    `place` is where the committed buffers lie, None while the default holds; `digest` is that of the buffers.
    `fixed` says that the value cannot change in place.
    `unwritten` are the buffers of a value that was migrated: the first commit of this process writes them.
    """

    __slots__ = ("codec", "digest", "fixed", "lengths", "number", "place", "slot", "unwritten", "value")

    def __init__(self, number: int, slot: State[Any], codec: Codec[Any]) -> None:
        self.number = number
        self.slot = slot
        self.codec = codec
        self.value: Any = MISSING
        self.place: int | None = None
        self.lengths: list[int] = []
        self.digest = b""
        self.fixed = False
        self.unwritten: list[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Cell {self.slot.name}: {sum(self.lengths)} bytes>"

    def load(self, fetch: Callable[[int, int], bytes]) -> Any:
        """The value as of the last commit; the same object while nobody can have changed it."""
        if self.value is not MISSING:
            return self.value
        if self.unwritten is not None:
            value = self.codec.decode(self.unwritten)
        elif self.place is None:
            value = self.slot.initial()
            if not is_fixed(value):
                # So that a default that was only read is not written. What cannot be written is said at the commit.
                try:
                    self.digest = digest_of(self.codec.encode(value))
                except ValueError:
                    self.digest = b""
        else:
            body = self.kept
            value = self.codec.decode(cut(fetch(self.place, sum(self.lengths)) if body is None else body, self.lengths))
        self.fixed = is_fixed(value)
        self.value = value
        return value

    @property
    def holds(self) -> bool:
        """Whether another value than the default is committed."""
        return self.place is not None or self.unwritten is not None

    @property
    def kept(self) -> bytes | None:
        """The committed buffers in one run, where the digest of a small value consists of them."""
        if not self.digest or sum(self.lengths) > LARGE:
            return None
        return self.digest[len(f"{self.lengths}") :]

    def moved(self, place: int) -> None:
        """The buffers lie there now."""
        self.place = place
        self.unwritten = None

    def adopt(self, value: Any, buffers: Sequence[Buffer], place: int | None) -> None:
        """An earlier process committed this value; without a place it was migrated since."""
        self.value = value
        self.place = place
        self.lengths = list(map(len, buffers))
        self.fixed = is_fixed(value)
        self.digest = b"" if type(value) in EXACT else digest_of(buffers)
        self.unwritten = None if place is not None else list(map(bytes, buffers))

    def reset(self) -> None:
        """Nothing is committed any more: the default holds."""
        self.value = MISSING
        self.place = None
        self.lengths = []
        self.digest = b""
        self.fixed = False
        self.unwritten = None

    def forget(self) -> None:
        """The object may have changed in a unit of work that failed: it is no longer the slot."""
        if not self.fixed:
            self.value = MISSING


def cut(body: bytes, lengths: Sequence[int]) -> list[memoryview]:
    """One run of bytes as the buffers that it was written from."""
    view = memoryview(body)
    buffers: list[memoryview] = []
    start = 0
    for length in lengths:
        buffers.append(view[start : start + length])
        start += length
    return buffers


def digest_of(buffers: Sequence[Buffer]) -> bytes:
    """Equal for equal buffers, and for no others."""
    lengths = list(map(len, buffers))
    if sum(lengths) <= LARGE:
        return b"".join((f"{lengths}".encode(), *buffers))
    from _blake2 import blake2b

    state = blake2b(f"{lengths}".encode(), digest_size=16)
    for buffer in buffers:
        state.update(buffer)
    return state.digest()


def is_fixed(value: Any) -> bool:
    """Whether a value cannot change in place, so that the same object is the same value."""
    kind = type(value)
    if kind in _FIXED:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(is_fixed, value))
    if f"{kind.__module__}.{kind.__qualname__}" in _FIXED_NAMES:
        return True
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(value, enum.Enum):
        return True
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is not None:
        return parameters.frozen and all(is_fixed(getattr(value, name, None)) for name in kind.__dataclass_fields__)
    attributes = getattr(kind, "__attrs_attrs__", None)
    setter = kind.__setattr__  # a slot wrapper without a module, where the class has none of its own
    if attributes is not None and getattr(setter, "__module__", "") == "attr._make" and "frozen" in setter.__name__:
        return all(is_fixed(getattr(value, attribute.name, None)) for attribute in attributes)
    return False
