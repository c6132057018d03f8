"""A namespace of the store, with the store's whole interface."""

# ruff: noqa: SLF001 - the other half of the store: it uses what the store keeps for its partitions

from __future__ import annotations

from _collections_abc import MutableMapping

from warmstate.warm.store.entries import size_in_store
from warmstate.warm.store.tiers import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from warmstate.warm.store.entries import Space
    from warmstate.warm.store.store import StateStore

    Value = TypeVar("Value")

__all__ = ["Partition"]


class Partition(MutableMapping[str, object] if TYPE_CHECKING else MutableMapping):  # type: ignore[misc]
    """
    Keys of their own in a store: `store.partition("thumbnails")["cat.jpg"]`; the budgets are the store's.

    Every use raises `TenantMismatch` while the store serves another tenant than the one it was made for.
    """

    __slots__ = ("_space", "_store")

    def __init__(self, store: StateStore, space: Space) -> None:
        self._store = store
        self._space = space

    def __repr__(self) -> str:
        return f"<Partition {self._space.name!r} of {self._store!r}>"

    def _key(self, key: object) -> tuple[Space, str]:
        self._store._refuse_foreign(self._space)
        return self._space, self._store._checked(key)

    def __getitem__(self, key: str) -> object:
        return self._store._fetch(self._key(key))

    def __setitem__(self, key: str, value: object) -> None:
        self._store._tiers.put(self._key(key), value, size_in_store(value))

    def __delitem__(self, key: str) -> None:
        if not self._store._tiers.remove(self._key(key)):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._store._tiers.has(self._key(key))

    def __iter__(self) -> Iterator[str]:
        self._store._refuse_foreign(self._space)
        return iter(self._store._tiers.names(self._space))

    def __len__(self) -> int:
        self._store._refuse_foreign(self._space)
        return len(self._store._tiers.names(self._space))

    def set(self, key: str, value: object, *, ttl: float | None = None, pin: bool = False) -> None:
        """As `StateStore.set`."""
        self._store._tiers.put(self._key(key), value, size_in_store(value), ttl=ttl, pin=pin)

    def pop(self, key: str, default: Any = MISSING) -> Any:
        """As `StateStore.pop`."""
        return self._store._pop(self._key(key), default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As `StateStore.setdefault`."""
        return self._store._get_or_create(self._key(key), lambda: default, None)

    def get_or_create(self, key: str, factory: Callable[[], Value], *, ttl: float | None = None) -> Value:
        """As `StateStore.get_or_create`."""
        return self._store._get_or_create(self._key(key), factory, ttl)  # type: ignore[no-any-return]  # the factory's

    def pin(self, key: str) -> None:
        """As `StateStore.pin`."""
        self._store._pin(self._key(key), pinned=True)

    def unpin(self, key: str) -> None:
        """As `StateStore.unpin`."""
        self._store._pin(self._key(key), pinned=False)

    def clear(self) -> None:
        """Remove every key of this partition."""
        for key in list(self):
            self.pop(key, None)
