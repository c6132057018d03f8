"""
The store: keyed values that stay warm, as a mapping.

1. A read of a resident key takes no lock: one lookup, and one move to the end of the order of use where it did not move in this
   epoch. A write over a key that did takes the turn by hand. Everything else is done by `tiers`.
2. A key of the store is its name; in a partition it is (space, name), and the space is a private object, so that no name
   reaches another partition's.
"""

from __future__ import annotations

from _collections_abc import MutableMapping

from warmstate.errors import LifecycleError, TenantMismatch
from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.notices import Notices
from warmstate.warm.budget import MemoryBudget
from warmstate.warm.sizes import CANNOT_CHANGE
from warmstate.warm.store.entries import GONE, Space, name_of, size_in_store
from warmstate.warm.store.flights import Flights
from warmstate.warm.store.tiers import MISSING, Tiers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from warmstate.warm.spill.spill import Spill
    from warmstate.warm.store.entries import Key
    from warmstate.warm.store.partition import Partition

    Value = TypeVar("Value")

__all__ = ["StateStore"]


class StateStore(MutableMapping[str, object] if TYPE_CHECKING else MutableMapping):  # type: ignore[misc]
    """
    Keyed values that stay warm: `store["session/42"] = session`.

    Bounded in bytes twice, in memory and in /tmp. What was spilled comes back as an equal value, not as the same object.
    Safe under threads: each operation on a key happens at one moment.

    Args:
        memory_budget: Bytes that values, keys and bookkeeping may take in memory; or a budget that others share.
        spill: Where the least recently used values go; None keeps everything in memory, and evicts.
        clock: Both its clocks are asked for expiry.
        notices: Hears once of each kind of trouble.
    """

    __slots__ = ("__weakref__", "_flights", "_resident", "_spaces", "_tiers", "_tokens", "_touch")

    def __init__(
        self,
        *,
        memory_budget: int | MemoryBudget,
        spill: Spill | None = None,
        clock: Clock = SYSTEM_CLOCK,
        notices: Notices | None = None,
    ) -> None:
        shared = MemoryBudget(memory_budget) if isinstance(memory_budget, int) else memory_budget
        self._tiers = Tiers(shared, spill, clock, Notices() if notices is None else notices)
        self._flights = Flights()
        self._spaces: dict[tuple[str | None, str], Space] = {}
        self._tokens = self._tiers.turn.tokens
        self._resident = self._tiers.shelf.resident
        self._touch = self._resident.move_to_end

    def __repr__(self) -> str:
        return f"<StateStore {len(self)} keys, {self._tiers.used} of {self._tiers.budget} bytes in memory>"

    # The mapping

    def __getitem__(self, key: str) -> object:
        try:
            entry = self._resident[key]
            value = entry.value  # read first: at any later step another thread may spill it
            if entry.stamp is self._tiers.epoch:
                entry.hits += 1
                return value
            if entry.expiry is None and value is not GONE:
                self._touch(key)
                entry.hits += 1
                if entry.fixed:
                    entry.stamp = self._tiers.epoch
                    return value
                if entry.value is not GONE:  # else it went to the disk and came back since, and is another object now
                    return value
        except KeyError:
            pass
        return self._fetch(self._checked(key))

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` when there is none (any more)."""
        try:
            return self[key]
        except KeyError:
            return default

    def __setitem__(self, key: str, value: object) -> None:
        """
        Keep `value` under `key`, without end.

        Raises:
            BudgetExceeded: it can never fit into memory; the old value is kept.
        """
        if type(value) is bytes:
            size = len(value)
        else:
            size = size_in_store(value)
            if type(value) not in CANNOT_CHANGE:
                self._tiers.put(self._checked(key), value, size)
                return
        tiers = self._tiers
        try:
            self._tokens.pop()
        except IndexError:  # somebody else has the turn
            tiers.put(self._checked(key), value, size)
            return
        except BaseException:  # of a signal that came while it was taken
            self._tokens.append(None)
            raise
        try:
            entry = self._resident[key]
            if entry.stamp is tiers.epoch and not entry.pinned:
                grown = size - entry.size
                if not grown or tiers.used + grown <= tiers.limit:
                    entry.value = value
                    entry.since = tiers.period
                    if grown:
                        entry.size = size
                        tiers.used += grown
                    return
        except KeyError:
            pass
        finally:
            self._tokens.append(None)
        tiers.put(self._checked(key), value, size)

    def __delitem__(self, key: str) -> None:
        if not self._tiers.remove(self._checked(key)):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._tiers.has(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tiers.names(None))

    def __len__(self) -> int:
        return len(self._tiers.names(None))

    def set(self, key: str, value: object, *, ttl: float | None = None, pin: bool = False) -> None:
        """
        Keep `value` under `key`.

        Args:
            key: Its name.
            value: Anything; what cannot be written to a disk stays in memory.
            ttl: Seconds until it is gone, by whichever clock gets there first; a freeze counts. None for no end.
            pin: True keeps it in memory: it is neither spilled nor evicted.

        Raises:
            BudgetExceeded: it can never fit into memory beside what is pinned; the old value is kept.
        """
        self._tiers.put(self._checked(key), value, size_in_store(value), ttl=ttl, pin=pin)

    def pop(self, key: str, default: Any = MISSING) -> Any:
        """Remove `key` and return its value; `default`, or a KeyError without one, when there is none."""
        return self._pop(self._checked(key), default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of `key`; `default` is stored first when there is none."""
        return self._get_or_create(self._checked(key), lambda: default, None)

    def get_or_create(self, key: str, factory: Callable[[], Value], *, ttl: float | None = None) -> Value:
        """
        The value of `key`, made by `factory` when there is none; however many ask, one makes it and the others wait.
        `ttl` is as for `set` and counts for a value that is made now.

        Where the factory raises, its error goes to the one who ran it, and the next of those who wait tries.

        Raises:
            LifecycleError: the factory asks for the key that it makes.
        """
        return self._get_or_create(self._checked(key), factory, ttl)  # type: ignore[no-any-return]  # the factory's

    def pin(self, key: str) -> None:
        """
        Keep the value of `key` in memory from now on: it is neither spilled nor evicted.

        Raises:
            KeyError: there is no such key.
        """
        self._pin(self._checked(key), pinned=True)

    def unpin(self, key: str) -> None:
        """
        Let the value of `key` be spilled and evicted again.

        Raises:
            KeyError: there is no such key.
        """
        self._pin(self._checked(key), pinned=False)

    def clear(self) -> None:
        """Remove every key of this namespace; partitions keep theirs."""
        for name in self._tiers.names(None):
            self._tiers.remove(name)

    def partition(self, name: str) -> Partition:
        """A namespace of its own in this store: its keys meet no others; the budgets are shared."""
        from warmstate.warm.store.partition import Partition

        if not name:
            raise ValueError('a partition needs a name: store.partition("thumbnails")')
        tenant = self._tiers.tenant
        return Partition(self, self._spaces.setdefault((tenant, name), Space(name, tenant)))

    # What the instance does

    def bind_tenant(self, tenant: str | None) -> None:
        """
        From here on this store is that of `tenant` (None: of nobody in particular).

        Each tenant has its own keys. A partition that was made for another tenant refuses every use with `TenantMismatch`.
        """
        self._resident = self._tiers.bind(tenant).resident
        self._touch = self._resident.move_to_end

    def settle(self) -> None:
        """
        Put things in order when nobody waits: measure what was used, drop what expired, spill down to below the budget.

        Values that changed in place are measured anew here.
        """
        self._tiers.settle()

    def close(self) -> None:
        """Give everything up, in memory and in /tmp; safe to repeat."""
        self._tiers.close()

    def info(self) -> dict[str, object]:
        """
        Bytes, budgets, counts, and each key with its tier, bytes, age and hits, as plain values.

        Of the bytes, `memory_debt` is what the process was seen to use beyond the account; the budget shrinks by it.
        """
        return self._tiers.info()

    @property
    def nbytes(self) -> int:
        """Bytes of memory that everything in it takes, bookkeeping included, by its own account."""
        return self._tiers.used

    # For this store and its partitions; `key` as in rule 2

    def _checked(self, key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(f"a key of the store is a str, not {type(key).__name__}: write store[str(key)]")
        return key

    def _refuse_foreign(self, space: Space) -> None:
        if space.tenant != self._tiers.tenant:
            raise TenantMismatch(
                f"partition {space.name!r} belongs to another tenant than this invocation: call self.store.partition({space.name!r}) "
                "in each invocation, and keep none of them"
            )

    def _fetch(self, key: Key) -> object:
        value = self._tiers.fetch(key)
        if value is MISSING:
            raise KeyError(name_of(key))
        return value

    def _pop(self, key: Key, default: Any) -> Any:
        value = self._tiers.take(key)
        if value is not MISSING:
            return value
        if default is MISSING:
            raise KeyError(name_of(key))
        return default

    def _pin(self, key: Key, *, pinned: bool) -> None:
        if not self._tiers.pin(key, pinned=pinned):
            raise KeyError(name_of(key))

    def _get_or_create(self, key: Key, factory: Callable[[], Any], ttl: float | None) -> Any:
        value = self._tiers.fetch(key)
        if value is not MISSING:
            return value
        with self._flights.flight((self._tiers.tenant, key), name_of(key)):
            value = self._tiers.fetch(key)
            if value is not MISSING:
                return value
            value = factory()
            if hasattr(value, "__await__"):
                close = getattr(value, "close", None)
                if close is not None:
                    close()
                raise LifecycleError("get_or_create() got an async factory: await the value first, then store it")
            self._tiers.put(key, value, size_in_store(value), ttl=ttl)
            return value
