"""
How the store writes values it knows nothing about, so that equal ones come back: `encode` gives buffers, and what decodes them.

1. Only this process reads them again, so what describes a value (its kind, an array's dtype) stays in memory, and the bytes
   hold nothing but the value. No class is found by a name taken from data, and nothing is pickled.
2. Built-in trees are written by `marshal`, ten times faster than anything in Python, after a walk made sure that every part is
   exactly of a kind that comes back equal (`marshal` itself takes any buffer for bytes).
3. Everything else goes through the codec of its type; what that refuses stays in memory.
"""

from __future__ import annotations

import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmstate.warm.spill.spilled import Buffer

__all__ = ["Encoded", "encode"]

_SCALARS = frozenset((type(None), bool, int, float, complex, str, bytes))
_SEQUENCES = frozenset((list, tuple, set, frozenset))
_DEEPEST = 200
_MOST_PARTS = 10_000_000


class Encoded:
    """
    The `buffers` of a value, and `decode`, which makes an equal value of the same bytes.

    `mapped` says that `decode` wants memory it may keep and write to, as arrays do.
    """

    __slots__ = ("buffers", "decode", "mapped")

    def __init__(self, buffers: list[Buffer], decode: Callable[[Any], object], *, mapped: bool = False) -> None:
        self.buffers = buffers
        self.decode = decode
        self.mapped = mapped

    def __repr__(self) -> str:
        return f"<Encoded {len(self.buffers)} buffers>"


def encode(value: object) -> Encoded | None:
    """The value as buffers, or None when it cannot be written so that an equal one comes back."""
    kind = type(value)
    if kind is bytes:
        return Encoded([value], bytes)  # type: ignore[list-item]  # told by `kind`, as below
    if kind is str:
        return Encoded([value.encode("utf-8", "surrogatepass")], _text)  # type: ignore[attr-defined]
    if kind is bytearray:
        return Encoded([value], bytearray)  # type: ignore[list-item]
    numpy: Any = sys.modules.get("numpy")  # an array exists only where it is loaded
    if numpy is not None and kind is numpy.ndarray:
        return _encode_array(numpy, value)
    if kind in _SCALARS or _is_plain_tree(value):
        try:
            return Encoded([marshal.dumps(value)], marshal.loads)  # type: ignore[arg-type]  # told by the walk
        except ValueError:  # nested deeper than marshal goes
            return None
    return _encode_by_codec(value)


def _text(data: bytes) -> str:
    return str(data, "utf-8", "surrogatepass")


def _encode_array(numpy: Any, array: Any) -> Encoded | None:
    if array.dtype.hasobject:
        return None
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    flat = numpy.ascontiguousarray(array.T if order == "F" else array).reshape(-1)
    dtype, shape = array.dtype, array.shape
    writeable = array.flags.writeable

    def decode(data: Any) -> object:
        decoded = numpy.frombuffer(data, dtype, count=flat_size).reshape(shape, order=order)
        decoded.flags.writeable = writeable
        return decoded

    flat_size = int(array.size)
    return Encoded([memoryview(flat.view(numpy.uint8) if dtype.itemsize and array.size else b"")], decode, mapped=True)


def _is_plain_tree(root: Any) -> bool:
    """Whether every part is exactly of a built-in kind that marshal gives back equal; a cycle is not a tree."""
    if type(root) not in _SEQUENCES and type(root) is not dict:
        return False
    level: list[Any] = [root]
    parts = 0
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for node in level:
            children: Any = [*node, *node.values()] if type(node) is dict else node
            kinds = set(map(type, children))
            if kinds <= _SCALARS:
                continue
            if not kinds - _SCALARS <= _CONTAINERS:
                return False
            below += [child for child in children if type(child) in _CONTAINERS]
        if not below:
            return True
        parts += len(below)
        if parts > _MOST_PARTS:
            return False
        level = below
    return False


_CONTAINERS = _SEQUENCES | {dict}


def _encode_by_codec(value: object) -> Encoded:
    from warmstate.warm.codecs.codec import codec_for_value
    from warmstate.warm.commits.committed import cut

    codec = codec_for_value(value)
    buffers: list[Buffer] = list(codec.encode(value))
    lengths = [memoryview(buffer).nbytes for buffer in buffers]
    return Encoded(buffers, lambda data: codec.decode(cut(data, lengths)))
