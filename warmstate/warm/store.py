"""
The store: keyed values in memory up to a budget, the least recently used ones in /tmp up to another.

1. A read of a resident key takes no lock: one lookup, one move to the end of the order of use. Everything else has the turn.
2. An entry's key is its name, or (space, name) in a partition; the space is a private object, so no name reaches another's.
3. A value whose reference somebody else holds is not spilled: that would free nothing, and lose what is changed through it.
4. What finds no room on the disk is evicted, least recently used first; what cannot be written waits until nothing else is left.
5. No fault of a disk leaves this module: a value that cannot be read back is a miss, counted, and never a wrong value.
"""

from __future__ import annotations

import sys
from _collections import OrderedDict
from _collections_abc import MutableMapping
from time import monotonic

from warmstate.errors import BudgetExceeded, LifecycleError, TenantMismatch
from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.notices import Notices
from warmstate.warm.entries import ENTRY_BYTES, LEFT_BYTES, Entry, Expiry, Space
from warmstate.warm.flights import Flights
from warmstate.warm.shelf import Shelf
from warmstate.warm.sizes import CANNOT_CHANGE, ResidentGuard, size_of
from warmstate.warm.spilled import SpillLost, SpillUnavailable
from warmstate.warm.turn import Turn
from warmstate.warm.values import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from warmstate.warm.entries import Key
    from warmstate.warm.partition import Partition
    from warmstate.warm.spill import Spill

    Value = TypeVar("Value")
    Default = TypeVar("Default")

__all__ = ["StateStore"]

_BYTES_OVERHEAD = sys.getsizeof(b"")
_SETTLED_SHARE = 0.9
"""Settling spills down to this share of the budget, so that the next invocation finds room without waiting for the disk."""
_STEP_SHARE = 64
"""Where a write finds no room, at least a 64th of the budget is cleared at once: one transaction for many rows."""
_LOOK_SHARE = 32
"""The process's real memory is looked at each time a 32nd of the budget was taken in."""
_BATCH = 256
_MISSING: Any = object()


class StateStore(MutableMapping[str, object] if TYPE_CHECKING else MutableMapping):  # type: ignore[misc]
    """
    Keyed values that stay warm: `store["session/42"] = session`.

    Bounded in bytes twice, in memory and in /tmp. What was spilled comes back as an equal value, not as the same object.
    Safe under threads: each operation on a key happens at one moment.

    Args:
        memory_budget: Bytes that values, keys and bookkeeping may take in memory.
        spill: Where the least recently used values go; None keeps everything in memory, and evicts.
        clock: Both its clocks are asked for expiry.
        notices: Hears once of each kind of trouble.
    """

    __slots__ = (
        "__weakref__",
        "_budget",
        "_clock",
        "_flights",
        "_garbage",
        "_guard",
        "_limit",
        "_notices",
        "_resident",
        "_shelf",
        "_shelves",
        "_spaces",
        "_spill",
        "_taken_in",
        "_tenant",
        "_tokens",
        "_touch",
        "_turn",
        "_used",
        "counts",
    )

    def __init__(
        self,
        *,
        memory_budget: int,
        spill: Spill | None = None,
        clock: Clock = SYSTEM_CLOCK,
        notices: Notices | None = None,
    ) -> None:
        self._budget = self._limit = memory_budget
        self._spill = spill
        self._clock = clock
        self._notices = Notices() if notices is None else notices
        self._turn = Turn()
        self._tokens = self._turn.tokens
        self._flights = Flights()
        self._tenant: str | None = None
        self._shelf = Shelf()
        self._shelves: dict[str | None, Shelf] = {None: self._shelf}
        self._spaces: dict[tuple[str | None, str], Space] = {}
        self._resident: OrderedDict[Key, Entry] = self._shelf.resident
        self._touch = self._resident.move_to_end
        self._used = 0
        self._taken_in = 0
        self._garbage: list[Any] = []
        self._guard = ResidentGuard()
        self.counts = {"misses": 0, "spilled": 0, "reloaded": 0, "evicted": 0, "expired": 0, "lost": 0, "unwritable": 0}

    def __repr__(self) -> str:
        return f"<StateStore {len(self)} keys, {self._used} of {self._budget} bytes in memory>"

    # The mapping

    def __getitem__(self, key: str) -> object:
        try:
            entry = self._resident[key]
            if entry.expiry is None:
                self._touch(key)
                entry.hits += 1
                return entry.value
        except KeyError:
            pass
        return self._fetch(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` when there is none (any more)."""
        try:
            entry = self._resident[key]
            if entry.expiry is None:
                self._touch(key)
                entry.hits += 1
                return entry.value
        except KeyError:
            pass
        try:
            return self._fetch(key)
        except KeyError:
            return default

    def __setitem__(self, key: str, value: object) -> None:
        """
        Keep `value` under `key`, without end.

        Raises:
            BudgetExceeded: it can never fit into memory; the old value is kept.
        """
        if type(value) is bytes:
            size = len(value) + _BYTES_OVERHEAD
        else:
            size = size_of(value)
        try:
            self._tokens.pop()
        except IndexError:
            self._turn.wait()
        try:
            entry = self._resident.get(key)
            if entry is not None and entry.expiry is None and not entry.pinned:
                used = self._used + size - entry.size
                if used <= self._limit:
                    old = entry.value  # noqa: F841 - keeps the old value until the turn is over: its __del__ may use the store
                    entry.value = value
                    entry.size = size
                    entry.since = monotonic()
                    self._used = used
                    self._touch(key)
                    return
        finally:
            self._tokens.append(None)
        if not isinstance(key, str):
            raise TypeError(f"a key of the store is a str, not {type(key).__name__}: write store[str(key)]")
        self._put(key, value, size)

    def __delitem__(self, key: str) -> None:
        with self._turn:
            entry = self._live(key)
            if entry is None:
                raise KeyError(key)
            self._drop(self._shelf, key)

    def __contains__(self, key: object) -> bool:
        with self._turn:
            return self._live(key) is not None  # type: ignore[arg-type]  # what is no key is not in it

    def __iter__(self) -> Iterator[str]:
        return iter(self._names(None))

    def __len__(self) -> int:
        shelf = self._shelf
        if shelf.timed or self._spaces:
            return len(self._names(None))
        with self._turn:
            return shelf.count

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
        self._put(self._checked(key), value, size_of(value), ttl=ttl, pin=pin)

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Remove `key` and return its value; `default`, or a KeyError without one, when there is none."""
        return self._pop(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of `key`; `default` is stored first when there is none."""
        return self._get_or_create(self._checked(key), lambda: default, None)

    def get_or_create(self, key: str, factory: Callable[[], Value], *, ttl: float | None = None) -> Value:
        """
        The value of `key`, made by `factory` when there is none; however many ask, one makes it and the others wait.

        Where the factory raises, its error goes to the one who ran it, and the next of those who wait tries.

        Raises:
            LifecycleError: the factory asks for the key that it makes.
        """
        return self._get_or_create(self._checked(key), factory, ttl)

    def pin(self, key: str) -> None:
        """
        Keep the value of `key` in memory from now on: it is neither spilled nor evicted.

        Raises:
            KeyError: there is no such key.
        """
        self._pin(key, pinned=True)

    def unpin(self, key: str) -> None:
        """
        Let the value of `key` be spilled and evicted again.

        Raises:
            KeyError: there is no such key.
        """
        self._pin(key, pinned=False)

    def clear(self) -> None:
        """Remove every key of this namespace; partitions keep theirs."""
        with self._turn:
            for name in self._names(None):
                self._drop(self._shelf, name)

    def partition(self, name: str) -> Partition:
        """A namespace of its own in this store: its keys meet no others; the budgets are shared."""
        from warmstate.warm.partition import Partition

        if not isinstance(name, str) or not name:
            raise TypeError(f"a partition's name is a non-empty str, not {name!r}")
        with self._turn:
            space = self._spaces.setdefault((self._tenant, name), Space(name, self._tenant))
        return Partition(self, space)

    # What the instance does

    def bind_tenant(self, tenant: str | None) -> None:
        """
        From here on this store is that of `tenant` (None: of nobody in particular).

        Each tenant has its own keys. A partition that was made for another tenant refuses every use with `TenantMismatch`.
        """
        with self._turn:
            shelf = self._shelves.setdefault(tenant, Shelf())
            self._tenant = tenant
            self._shelf = shelf
            self._resident = shelf.resident
            self._touch = shelf.resident.move_to_end

    def settle(self) -> None:
        """
        Put things in order when nobody waits: measure what was used, drop what expired, spill down to below the budget.

        Values that changed in place are measured anew here.
        """
        with self._turn:
            shelf = self._shelf
            for key, entry in shelf.used_since_mark():
                if type(entry.value) not in CANNOT_CHANGE:
                    size = size_of(entry.value)
                    self._used += size - entry.size
                    entry.size = size
            for key in shelf.some_timed():
                self._live(key)
            self._look()
            goal = int(self._limit * _SETTLED_SHARE)
            if self._used > goal:
                self._shrink(goal, None)
            shelf.mark()
            garbage = self._take_garbage()
        if self._spill is not None:
            self._spill.drop_many(garbage)
            self._spill.settle()

    def close(self) -> None:
        """Give everything up, in memory and in /tmp; safe to repeat."""
        with self._turn:
            for shelf in self._shelves.values():
                shelf.clear()
            self._garbage.clear()
            self._used = 0
        if self._spill is not None:
            self._spill.close()

    def info(self) -> dict[str, object]:
        """Bytes, budgets, counts, and each key with its tier, bytes, age, hits, as plain values."""
        with self._turn:
            keys: dict[str, dict[str, object]] = {}
            partitions: dict[str, dict[str, dict[str, object]]] = {}
            for key, entry, tier in self._shelf.everything():
                row = entry.info(tier, self._clock)
                if isinstance(key, str):
                    keys[key] = row
                else:
                    partitions.setdefault(key[0].name, {})[key[1]] = row
            entries = [entry for shelf in self._shelves.values() for _, entry, _ in shelf.everything()]
            return {
                "memory_bytes": self._used,
                "memory_budget": self._budget,
                "memory_debt": self._guard.debt,
                "tmp": None if self._spill is None else self._spill.info(),
                "hits": sum(entry.hits for entry in entries),
                **self.counts,
                "keys": keys,
                "partitions": partitions,
            }

    @property
    def nbytes(self) -> int:
        """Bytes of memory that everything in it takes, bookkeeping included, by its own account."""
        return self._used

    # For this store and its partitions; `key` as in rule 2

    def _checked(self, key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(f"a key of the store is a str, not {type(key).__name__}: write store[str(key)]")
        return key

    def _refuse_foreign(self, space: Space) -> None:
        if space.tenant != self._tenant:
            raise TenantMismatch(
                f"partition {space.name!r} belongs to another tenant than this invocation: call self.store.partition({space.name!r}) "
                "in each invocation, and keep none of them"
            )

    def _fetch(self, key: Key) -> object:
        """
        The value of a key that needs more than a look: one with an end, or one in /tmp.

        Raises:
            KeyError: there is none.
        """
        with self._turn:
            entry = self._live(key)
            if entry is None:
                self.counts["misses"] += 1
                raise KeyError(key if isinstance(key, str) else key[1])
            if entry.spilled is not None:
                self._reload(key, entry)
            else:
                self._touch(key)
            entry.hits += 1
            return entry.value

    def _put(self, key: Key, value: object, size: int, *, ttl: float | None = None, pin: bool = False) -> None:
        name = key if isinstance(key, str) else key[1]
        whole = size + ENTRY_BYTES + len(name)
        expiry = None if ttl is None else Expiry(ttl, self._clock)
        old = None
        with self._turn:
            shelf = self._shelf
            pinned = shelf.pinned_bytes
            if whole + pinned > self._budget:
                raise BudgetExceeded(
                    f"the value of {name!r} takes about {size} bytes, and the store may keep {self._budget} in memory"
                    + (f", of which {pinned} are pinned" if pinned else "")
                    + ": raise store_budget or the function's memory, or keep the value in parts"
                )
            old = self._drop(shelf, key)
            entry = Entry(value, size, ENTRY_BYTES + len(name), self._clock.monotonic(), expiry)
            entry.pinned = pin
            shelf.add(key, entry)
            self._used += whole
            self._taken_in += whole
            if self._taken_in * _LOOK_SHARE > self._budget:
                self._look()
            if self._used > self._limit:
                self._shrink(self._limit - self._budget // _STEP_SHARE, key)
        del old

    def _pop(self, key: Key, default: Any) -> Any:
        with self._turn:
            entry = self._live(key)
            if entry is not None and entry.spilled is not None:
                try:
                    self._reload(key, entry)
                except KeyError:
                    entry = None
            if entry is not None:
                value = entry.value
                self._drop(self._shelf, key)
                return value
        if default is _MISSING:
            raise KeyError(key if isinstance(key, str) else key[1])
        return default

    def _get_or_create(self, key: Key, factory: Callable[[], Any], ttl: float | None) -> Any:
        found = self._look_up(key)
        if found is not _MISSING:
            return found
        with self._flights.flight(key):
            found = self._look_up(key)
            if found is not _MISSING:
                return found
            value = factory()
            if hasattr(value, "__await__"):
                close = getattr(value, "close", None)
                if close is not None:
                    close()
                raise LifecycleError("get_or_create() got an async factory: await the value first, then store it")
            self._put(key, value, size_of(value), ttl=ttl)
            return value

    def _look_up(self, key: Key) -> Any:
        try:
            return self._fetch(key)
        except KeyError:
            return _MISSING

    def _has(self, key: Key) -> bool:
        with self._turn:
            return self._live(key) is not None

    def _delete(self, key: Key) -> None:
        with self._turn:
            if self._live(key) is None:
                raise KeyError(key if isinstance(key, str) else key[1])
            self._drop(self._shelf, key)

    def _pin(self, key: Key, *, pinned: bool) -> None:
        with self._turn:
            entry = self._live(key)
            if entry is None:
                raise KeyError(key if isinstance(key, str) else key[1])
            if pinned and entry.spilled is not None:
                self._reload(key, entry)
            self._shelf.pin(entry, pinned=pinned)

    def _names(self, space: Space | None) -> list[str]:
        """The names in a space that have not expired."""
        with self._turn:
            return [
                key if isinstance(key, str) else key[1]
                for key in self._shelf.keys_of(space)
                if self._live(key) is not None
            ]

    # Under the turn

    def _live(self, key: Key) -> Entry | None:
        """The entry of a key unless it expired, which ends it."""
        shelf = self._shelf
        entry = shelf.resident.get(key) or shelf.spilled.get(key)
        if entry is not None and entry.expiry is not None and entry.expiry.is_over(self._clock):
            self._drop(shelf, key)
            self.counts["expired"] += 1
            return None
        return entry

    def _drop(self, shelf: Shelf, key: Key) -> Entry | None:
        """Remove a key from either tier; returns its entry, so that the value outlives the turn."""
        entry = shelf.remove(key)
        if entry is None:
            return None
        if entry.spilled is None:
            self._used -= entry.size + entry.overhead
        else:
            self._used -= LEFT_BYTES + entry.overhead
            self._throw_away(entry)
        return entry

    def _throw_away(self, entry: Entry) -> None:
        spilled, entry.spilled = entry.spilled, None
        if spilled is None or self._spill is None:
            return
        if spilled.fd is not None:  # its bytes are free at once, where rows are worth a common transaction
            self._spill.drop(spilled)
            return
        self._garbage.append(spilled)
        if len(self._garbage) >= _BATCH:
            self._spill.drop_many(self._take_garbage())

    def _take_garbage(self) -> list[Any]:
        garbage, self._garbage = self._garbage, []
        return garbage

    def _look(self) -> None:
        """Correct the limit by what the process really uses."""
        debt = self._guard.look(self._used, self._taken_in)
        self._taken_in = 0
        self._limit = max(self._budget // 4, self._budget - debt)

    def _reload(self, key: Key, entry: Entry) -> None:
        """
        Bring a spilled entry back into memory.

        Raises:
            KeyError: its bytes are lost, or cannot be read now.
        """
        name = key if isinstance(key, str) else key[1]
        spill, spilled = self._spill, entry.spilled
        assert spill is not None and spilled is not None and entry.decode is not None
        try:
            data = spill.map(spilled) if entry.mapped else spill.get(spilled)
            value = entry.decode(data)
        except SpillUnavailable:
            self.counts["misses"] += 1
            raise KeyError(name) from None
        except (SpillLost, ValueError, EOFError, TypeError):
            self.counts["lost"] += 1
            self._drop(self._shelf, key)
            raise KeyError(name) from None
        self._drop(self._shelf, key)
        entry.value = value
        entry.decode = None
        self._shelf.add(key, entry)
        whole = entry.size + entry.overhead
        self._used += whole
        self._taken_in += whole
        self.counts["reloaded"] += 1
        if self._used > self._limit:
            self._shrink(self._limit - self._budget // _STEP_SHARE, key)

    def _shrink(self, goal: int, keep: Key | None) -> None:
        """Spill the least recently used values until no more than `goal` bytes are used; evict where that does not do it."""
        # Other tenants' keys are older than anything this one did.
        shelves = [shelf for shelf in self._shelves.values() if shelf is not self._shelf] + [self._shelf]
        for shelf in shelves:
            looked = 0
            while self._used > goal and looked < len(shelf.resident):
                victims, seen = self._victims(shelf, goal, keep)
                looked += seen
                if not seen:
                    break
                self._move_out(shelf, victims)
        for shelf in shelves:
            if self._used > goal:
                self._evict(shelf, goal, keep)

    def _victims(self, shelf: Shelf, goal: int, keep: Key | None) -> tuple[list[tuple[Key, Entry, Any]], int]:
        """Take the next entries to spill off the shelf, encoded; and how many were looked at."""
        victims: list[tuple[Key, Entry, Any]] = []
        freeing = looked = 0
        for _ in range(len(shelf.resident)):
            if self._used - freeing <= goal or len(victims) >= _BATCH or freeing > 8 * 1024 * 1024:
                break
            looked += 1
            key, entry = shelf.oldest()
            if entry is None:
                continue
            if entry.expiry is not None and entry.expiry.is_over(self._clock):
                self._drop(shelf, key)
                self.counts["expired"] += 1
                continue
            if entry.pinned or key == keep or self._spill is None or not entry.writable or _is_held(entry):
                shelf.resident.move_to_end(key)
                continue
            try:
                encoded = encode(entry.value)
            except Exception:  # noqa: BLE001 - a user's type may raise anything; its value stays in memory
                encoded = None
            if encoded is None:
                entry.writable = False
                self.counts["unwritable"] += 1
                self._notices.once(
                    f"store-unwritable-{type(entry.value).__qualname__}",
                    f"values of {type(entry.value).__qualname__} cannot be spilled, so they stay in memory: store plain values, "
                    "attrs classes or dataclasses of them, or arrays",
                )
                shelf.resident.move_to_end(key)
                continue
            shelf.remove(key)
            freeing += entry.size - LEFT_BYTES
            victims.append((key, entry, encoded))
        return victims, looked

    def _move_out(self, shelf: Shelf, victims: list[tuple[Key, Entry, Any]]) -> None:
        spill = self._spill
        if spill is None or not victims:
            return
        self._make_tmp_room(sum(entry.size for _, entry, _ in victims))
        receipts = spill.put_many(
            [(key if isinstance(key, str) else key[1], encoded.buffers) for key, _, encoded in victims]
        )
        for (key, entry, encoded), receipt in zip(victims, receipts, strict=True):
            if receipt is None:  # the disk has no room for it, so it goes
                self._used -= entry.size + entry.overhead
                self._evicted()
                continue
            self._used += LEFT_BYTES - entry.size
            entry.leave(receipt, encoded.decode, mapped=encoded.mapped)
            shelf.add(key, entry)
            self.counts["spilled"] += 1

    def _make_tmp_room(self, wanted: int) -> None:
        """Evict the least recently spilled values where /tmp's budget has no room for the next."""
        spill = self._spill
        assert spill is not None
        if spill.nbytes + wanted <= spill.budget:
            return
        spill.drop_many(self._take_garbage())
        room = spill.room()
        for shelf in self._shelves.values():
            while room < wanted and shelf.spilled:
                key = next(iter(shelf.spilled))
                entry = shelf.spilled[key]
                room += entry.spilled.disk_bytes if entry.spilled is not None else 0
                self._drop(shelf, key)
                self._evicted()
        spill.drop_many(self._take_garbage())
        spill.settle()

    def _evict(self, shelf: Shelf, goal: int, keep: Key | None) -> None:
        for _ in range(len(shelf.resident)):
            if self._used <= goal:
                return
            key, entry = shelf.oldest()
            if entry is None:
                continue
            if entry.pinned or key == keep:
                shelf.resident.move_to_end(key)
                continue
            self._drop(shelf, key)
            self._evicted()
        while self._used > goal and shelf.spilled:  # what is left in memory of spilled values
            self._drop(shelf, next(iter(shelf.spilled)))
            self._evicted()

    def _evicted(self) -> None:
        self.counts["evicted"] += 1
        self._notices.once(
            "store-evicted",
            "the store is full, in memory and in /tmp, and drops the least recently used values: raise store_budget, the "
            "function's memory or its ephemeral storage",
        )


def _is_held(entry: Entry) -> bool:
    """Whether somebody besides the entry refers to its value, and could change it."""
    return type(entry.value) not in CANNOT_CHANGE and sys.getrefcount(entry.value) > _HELD_BY_ENTRY


def _references() -> int:
    entry = Entry([], 0, 0, 0.0, None)
    return sys.getrefcount(entry.value)


_HELD_BY_ENTRY = _references()
