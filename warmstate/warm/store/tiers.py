"""
The two tiers under the store: entries in memory up to one budget, the least recently used ones in /tmp up to another.

1. `used` is what everything takes in memory by its own account, bookkeeping included; `limit` is the budget less what slots and tails
   take of it, and less what the process was seen to use beyond these accounts.
2. The order of use is exact between epochs, and one lasts until a 32nd of the budget was taken in or room was made: a value that
   cannot change in place moves to the end at its first use in each.
3. Methods that change anything take the turn themselves, unless they stand under "with the turn".
4. No fault of a disk leaves this module: a value that cannot be read back is a miss, counted, and never a wrong value.
"""

from __future__ import annotations

from warmstate.errors import BudgetExceeded
from warmstate.warm.sizes import ResidentGuard
from warmstate.warm.spill.spilled import Spilled, SpillLost, SpillUnavailable
from warmstate.warm.store.entries import ENTRY_BYTES, LEFT_BYTES, Entry, Expiry, Period, name_of, size_in_store
from warmstate.warm.store.overflow import Overflow
from warmstate.warm.store.shelf import Shelf
from warmstate.warm.store.turn import Turn, in_turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from warmstate.lifecycle.clock import Clock
    from warmstate.lifecycle.notices import Notices
    from warmstate.warm.budget import MemoryBudget
    from warmstate.warm.spill.spill import Spill
    from warmstate.warm.store.entries import Key, Space

__all__ = ["MISSING", "Tiers"]

MISSING: Any = object()
"""Stands for the value of a key that is not there."""

_SETTLED_SHARE = 0.9
"""Settling spills down to this share of the budget, so that the next invocation finds room without waiting for the disk."""
_STEP_SHARE = 64
"""Where a write finds no room, at least a 64th of the budget is cleared at once: one transaction for many rows."""
_LOOK_SHARE = 32
"""The process's real memory is looked at, and an epoch ends, each time a 32nd of the budget was taken in."""
_UNNOTICED = 16 * 1024 * 1024
_UNNOTICED_SHARE = 10
"""Memory beyond the account that changes nothing: a tenth of the budget, and what loading SQLite and the like takes."""
_GARBAGE = 256
"""So many dropped rows wait for a common transaction."""


class Tiers:
    """Entries by key, in memory and in /tmp, for each tenant on a shelf of its own; the budgets are common."""

    __slots__ = (
        "_clock",
        "_garbage",
        "_guard",
        "_in_epoch",
        "_overflow",
        "_share",
        "_shelves",
        "_taken_in",
        "budget",
        "counts",
        "epoch",
        "limit",
        "period",
        "shelf",
        "spill",
        "tenant",
        "turn",
        "used",
    )

    def __init__(self, budget: MemoryBudget, spill: Spill | None, clock: Clock, notices: Notices) -> None:
        self.budget = budget.total
        self.limit = budget.for_store
        self._share = budget
        budget.in_store = lambda: self.used
        self.spill = spill
        self.used = 0
        self.tenant: str | None = None
        self.shelf = Shelf()
        self.turn = Turn()
        self.epoch = object()
        self.period = Period()
        self.counts = {"misses": 0, "spilled": 0, "reloaded": 0, "evicted": 0, "expired": 0, "lost": 0, "unwritable": 0}
        self._shelves: dict[str | None, Shelf] = {None: self.shelf}
        self._clock = clock
        self._taken_in = 0
        self._in_epoch = 0
        self._garbage: list[Spilled] = []
        self._guard = ResidentGuard()
        self._overflow = Overflow(self, notices)

    def __repr__(self) -> str:
        return f"<Tiers {self.used} of {self.budget} bytes in memory, {self.shelf!r}>"

    @in_turn
    def bind(self, tenant: str | None) -> Shelf:
        """Make the tenant's shelf the present one."""
        self.tenant = tenant
        self.shelf = self._shelves.setdefault(tenant, Shelf())
        return self.shelf

    @in_turn
    def fetch(self, key: Key) -> Any:
        """The value of a key, reloaded where it is in /tmp; MISSING when there is none."""
        entry = self._present(key)
        if entry is None:
            self.counts["misses"] += 1
            return MISSING
        self.shelf.resident.move_to_end(key)
        entry.hits += 1
        return entry.value

    def put(self, key: Key, value: object, size: int, *, ttl: float | None = None, pin: bool = False) -> None:
        """
        Store a value, and make room for it.

        Raises:
            BudgetExceeded: it can never fit into memory beside what is pinned; the old value is kept.
        """
        name = name_of(key)
        expiry = None if ttl is None else Expiry(ttl, self._clock)
        entry = Entry(value, size, ENTRY_BYTES + len(name), self.period, expiry)
        entry.pinned = pin
        if entry.fixed and expiry is None:
            entry.stamp = self.epoch
        self._replace(key, name, entry)  # and what was there ends here: what its __del__ does may use the store

    @in_turn
    def _replace(self, key: Key, name: str, entry: Entry) -> Entry | None:
        """Put an entry in the place of what is there, which is returned."""
        size = entry.size
        whole = size + entry.overhead
        shelf = self.shelf
        old = shelf.resident.get(key)
        pinned = sum(other.pinned_bytes for other in self._shelves.values())
        if old is not None and old.pinned:
            pinned -= old.size + old.overhead
        if whole + pinned > self.budget:
            raise BudgetExceeded(
                f"the value of {name!r} takes about {size} bytes, and the store may keep {self.budget} in memory"
                + (f", of which {pinned} are pinned" if pinned else "")
                + ": raise store_budget or the function's memory, or keep the value in parts"
            )
        self.drop(shelf, key)
        shelf.add(key, entry)
        self._took_in(whole, key)
        return old

    @in_turn
    def take(self, key: Key) -> Any:
        """Remove a key and return its value, or MISSING."""
        entry = self._present(key)
        self.drop(self.shelf, key)  # also where it cannot be read now: it must not come back later
        return MISSING if entry is None else entry.value

    def remove(self, key: Key) -> bool:
        """Remove a key; False when there is none."""
        return self._removed(key) is not None

    @in_turn
    def _removed(self, key: Key) -> Entry | None:
        entry = self.live(key)
        if entry is not None:
            self.drop(self.shelf, key)
        return entry

    @in_turn
    def has(self, key: Key) -> bool:
        """Whether there is such a key, in either tier."""
        return self.live(key) is not None

    @in_turn
    def pin(self, key: Key, *, pinned: bool) -> bool:
        """Pin a key into memory, or unpin it; False when there is none."""
        entry = self._present(key)
        if entry is not None:
            self.shelf.pin(entry, pinned=pinned)
        return entry is not None

    @in_turn
    def names(self, space: Space | None) -> list[str]:
        """The names in a space whose values have not ended."""
        if space is None and not self.shelf.timed and not self.shelf.is_divided:
            return self.shelf.names()
        return [name_of(key) for key in self.shelf.keys_of(space) if self.live(key) is not None]

    @in_turn
    def settle(self) -> None:
        """Measure anew what was used and can change, end what expired, spill to below the budget, free what was dropped."""
        shelf = self.shelf
        for entry in shelf.used_since_mark():
            if not entry.fixed:
                size = size_in_store(entry.value)
                self.used += size - entry.size
                if entry.pinned:
                    shelf.pinned_bytes += size - entry.size
                entry.size = size
        for key in shelf.some_timed():
            self.live(key)
        self._look()
        goal = int(self.limit * _SETTLED_SHARE)
        if self.used > goal:
            self._make_room(goal)
        shelf.mark()
        self.period.ended = self._clock.monotonic()
        self.period = Period()
        if self.spill is not None:
            if self._garbage:
                self.spill.drop_many(self.take_garbage())
            self.spill.settle()

    @in_turn
    def close(self) -> None:
        """Forget everything, in both tiers."""
        for shelf in self._shelves.values():
            shelf.clear()
        self._garbage.clear()
        self.used = 0
        if self.spill is not None:
            self.spill.close()

    @in_turn
    def info(self) -> dict[str, object]:
        """Bytes, counts, and the keys of the present tenant, as plain values."""
        keys: dict[str, dict[str, object]] = {}
        partitions: dict[str, dict[str, dict[str, object]]] = {}
        for key, entry, tier in self.shelf.everything():
            rows = keys if isinstance(key, str) else partitions.setdefault(key[0].name, {})
            rows[name_of(key)] = entry.info(tier, self._clock)
        return {
            "memory_bytes": self.used,
            "memory_budget": self.budget,
            "memory_of_slots": self._share.in_slots,
            "memory_debt": self._guard.debt,
            "tmp": None if self.spill is None else self.spill.info(),
            **self.counts,
            "keys": keys,
            "partitions": partitions,
        }

    # With the turn

    def live(self, key: Key) -> Entry | None:
        """The entry of a key, in either tier, unless it ended."""
        shelf = self.shelf
        entry = shelf.resident.get(key)
        if entry is None:
            entry = shelf.spilled.get(key)
        return None if entry is None or self.ended(shelf, key, entry) else entry

    def ended(self, shelf: Shelf, key: Key, entry: Entry) -> bool:
        """Whether an entry expired, in which case it is dropped."""
        if entry.expiry is None or not entry.expiry.is_over(self._clock):
            return False
        self.drop(shelf, key)
        self.counts["expired"] += 1
        return True

    def drop(self, shelf: Shelf, key: Key) -> None:
        """Remove a key from whichever tier it is in, if any."""
        entry = shelf.remove(key)
        if entry is None:
            return
        spilled = entry.spilled
        self.used -= (entry.size if spilled is None else LEFT_BYTES) + entry.overhead
        if spilled is None or self.spill is None:
            return
        if spilled.fd is not None:  # its bytes are free at once, where rows are worth a common transaction
            self.spill.drop(spilled)
            return
        self._garbage.append(spilled)
        if len(self._garbage) >= _GARBAGE:
            self.spill.drop_many(self.take_garbage())

    def take_garbage(self) -> list[Spilled]:
        """The rows that nobody needs any more, for dropping them together."""
        garbage, self._garbage = self._garbage, []
        return garbage

    def shelves_by_age(self) -> list[Shelf]:
        """All shelves; those of other tenants first, which are older than anything the present one did."""
        return [shelf for shelf in self._shelves.values() if shelf is not self.shelf] + [self.shelf]

    def _present(self, key: Key) -> Entry | None:
        """The entry of a key, in memory."""
        entry = self.live(key)
        if entry is None or entry.spilled is None:
            return entry
        spill = self.spill
        decode = entry.decode
        if spill is None or decode is None:
            return None
        try:
            value = decode(spill.map(entry.spilled) if entry.mapped else spill.get(entry.spilled))
        except SpillUnavailable:
            return None
        except (SpillLost, ValueError, EOFError, TypeError):
            self.counts["lost"] += 1
            self.drop(self.shelf, key)
            return None
        self.drop(self.shelf, key)
        entry = entry.arrive(value)
        self.shelf.add(key, entry)
        self.counts["reloaded"] += 1
        self._took_in(entry.size + entry.overhead, key)
        return entry

    def _took_in(self, nbytes: int, key: Key) -> None:
        self.used += nbytes
        self._taken_in += nbytes
        if self._taken_in * _LOOK_SHARE > self.budget:
            self._look()
        if self.used > self.limit:
            self._share.store_is_short = True
            self._make_room(self.limit - self.budget // _STEP_SHARE, key)

    def _make_room(self, goal: int, keep: Key | None = None) -> None:
        self._begin_epoch()
        self._overflow.shrink(goal, keep)

    def _begin_epoch(self) -> None:
        self.epoch = object()
        self._in_epoch = 0

    def _look(self) -> None:
        """Correct the limit by what slots and tails take, and by what the process really uses."""
        share = self._share
        debt = self._guard.look(self.used + share.in_slots, self._taken_in)
        self._in_epoch += self._taken_in
        if self._in_epoch * _LOOK_SHARE > self.budget:
            self._begin_epoch()
        self._taken_in = 0
        unnoticed = max(_UNNOTICED, self.budget // _UNNOTICED_SHARE)
        self.limit = min(share.for_store, max(self.budget // 4, self.budget - max(0, debt - unnoticed)))
