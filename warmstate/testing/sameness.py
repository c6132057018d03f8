"""Whether two values are the same through and through: what a class's own `==` says of it is not asked."""

from __future__ import annotations

import copy
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["is_same", "snapshot"]


def snapshot(value: Any) -> Any:
    """A copy that later changes do not reach; of what cannot be copied, an encoder or a connection, the object itself."""
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - a user's class may raise anything
        return value


def is_same(one: Any, other: Any) -> bool:
    """
    Whether two values have the same types and hold the same, down to the fields of objects.

    An `__eq__` that leaves fields out, as caches and lazy ones do, hides what was lost; NaN is the same as NaN.
    """
    return _Comparison().same(one, other)


class _Comparison:
    """One comparison; pairs that are under way count as the same, so that cycles end."""

    def __init__(self) -> None:
        self._under_way: set[tuple[int, int]] = set()

    def same(self, one: Any, other: Any) -> bool:
        if one is other:
            return True
        if type(one) is not type(other):
            return False
        pair = (id(one), id(other))
        if pair in self._under_way:
            return True
        self._under_way.add(pair)
        try:
            return self._same_inside(one, other)
        finally:
            self._under_way.discard(pair)

    def _same_inside(self, one: Any, other: Any) -> bool:
        if _is_a(one, dict):
            return self._same_items(one, other)
        if _is_a(one, list, tuple, deque):
            return self._same_rows(one, other)
        if _is_a(one, set, frozenset):
            return len(one) == len(other) and all(any(self.same(item, known) for known in other) for item in one)
        if hasattr(one, "dtype") and hasattr(one, "tobytes"):
            return one.dtype == other.dtype and one.shape == other.shape and _is_same_array(one, other)
        fields = _fields(one)
        if fields is not None:
            return self._same_items(fields, _fields(other) or {})
        return _is_equal(one, other)

    def _same_items(self, one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
        return one.keys() == other.keys() and all(self.same(value, other[key]) for key, value in one.items())

    def _same_rows(self, one: Iterable[Any], other: Iterable[Any]) -> bool:
        ours, theirs = list(one), list(other)
        return len(ours) == len(theirs) and all(map(self.same, ours, theirs))


def _is_a(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds)


def _fields(value: Any) -> dict[str, Any] | None:
    """What an object consists of; None for one that only itself can compare."""
    kind: Any = value.__class__
    attributes = getattr(kind, "__attrs_attrs__", None)
    names = (
        [attribute.name for attribute in attributes]
        if attributes is not None
        else getattr(kind, "__dataclass_fields__", None)
    )
    if names is not None:  # beside its fields there may be what a cached property computed
        return {name: getattr(value, name, None) for name in names}
    held: dict[str, Any] | None = getattr(value, "__dict__", None)
    return held or None


def _is_same_array(one: Any, other: Any) -> bool:
    return bool(one.tobytes() == other.tobytes())


def _is_equal(one: Any, other: Any) -> bool:
    kind: Any = one.__class__
    if kind.__eq__ is object.__eq__:  # it has no notion of being equal, so a copy says nothing
        return True
    return bool(one == other) or bool(one != one and other != other)  # noqa: PLR0124 - so NaN is told
