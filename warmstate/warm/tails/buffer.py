"""
The buffer that a handler's tail is at run time: items wait in it, in order, until a flush has written them.

1. Items have numbers that never change: `_base` is that of the first one held. What left has a lower number.
2. Flushed items stay at the front as `_done` until the unit of work commits; if it rolls back they wait again. So an item can be
   delivered twice, never lost, and it leaves together with the slots that its flush touched.
3. A batch that went to a disk leaves one `Away` in the place of each of its items; it is read again when they are needed.
4. Appending never flushes and never does I/O.
"""

from __future__ import annotations

import _thread

from warmstate._typing import Generic, TypeVar
from warmstate.warm.tails.ids import KnownIds, may_be_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence
    from typing import Any

    from warmstate.lifecycle.clock import Clock
    from warmstate.warm.tails.tail import Tail

__all__ = ["Away", "Buffer", "Mark"]

T = TypeVar("T")

_CLOCK_STEP = 5.0
"""Seconds that the wall clock may be corrected backwards before waiting items count as old: their age is unknown then."""


class Away:
    """Stands in a buffer for items that are on a disk; `load` brings the whole segment back."""

    __slots__ = ("first", "load")

    def __init__(self, first: int, load: Callable[[], list[Any]]) -> None:
        self.first = first
        self.load = load


class Mark:
    """How far a buffer was at a savepoint."""

    __slots__ = ("appended", "done")

    def __init__(self, appended: int, done: int) -> None:
        self.appended = appended
        self.done = done


class Buffer(Generic[T]):
    """
    The items of a tail that wait for their flush, oldest first.

    `len()`, iteration and `nbytes` tell what waits.
    """

    __slots__ = (
        "_base",
        "_clock",
        "_committed",
        "_done",
        "_flush",
        "_handler",
        "_ids",
        "_items",
        "_known",
        "_lock",
        "_seen",
        "_since",
        "_sizes",
        "_weigh",
        "away",
        "failures",
        "flushes",
        "last_flush_seconds",
        "max_bytes",
        "retry_at",
        "tail",
    )

    def __init__(
        self,
        tail: Tail[T],
        handler: object,
        *,
        clock: Clock | None = None,
        flush: Callable[[Buffer[T]], None] | None = None,
    ) -> None:
        from warmstate.lifecycle.clock import SYSTEM_CLOCK
        from warmstate.warm.amounts import parse_bytes

        self.tail = tail
        self.max_bytes = None if tail.max_bytes is None else parse_bytes(tail.max_bytes)
        self.failures = 0
        self.flushes = 0
        self.retry_at: tuple[float, float] | None = None
        self.last_flush_seconds = 0.0
        self.away = 0
        self._handler = handler
        self._clock = SYSTEM_CLOCK if clock is None else clock
        self._flush = flush
        self._lock = _thread.RLock()
        self._items: list[Any] = []
        self._ids: list[str | int | None] = []
        self._since: list[tuple[float, float | None]] = []
        self._sizes: list[int] = []
        self._known = KnownIds()
        self._seen: list[int] = []
        self._base = 0
        self._done = 0
        self._committed = 0
        self._weigh: Callable[[object], int] | None = None

    def __repr__(self) -> str:
        return f"<Buffer {self.tail.name}: {len(self)} items waiting>"

    # What the user sees.

    def append(self, item: T, id: str | int | None = None) -> bool:
        """
        Adds an item at the end; True if it was added, False if its `id` is known.

        An id is known while its item waits, and for a good while after its flush (the last 10,000), also across a reset where
        the tail survives one; so what a queue delivers twice is written once.
        """
        clock = self._clock
        with self._lock:
            number = self._base + len(self._items)
            if id is not None:
                if not may_be_id(id):
                    raise TypeError(f"{self.tail.name}: an id is text or a whole number, not {type(id).__qualname__}")
                known = self._known.number_of(id)
                if known is not None:
                    self._seen.append(known)
                    return False
                self._known.add(id, number)
            self._seen.append(number)
            self._items.append(item)
            self._ids.append(id)
            self._since.append((clock.wall(), clock.monotonic()))
        return True

    def extend(self, items: Iterable[T]) -> None:
        """Adds the items at the end, in their order."""
        for item in items:
            self.append(item)

    def __len__(self) -> int:
        return len(self._items) - self._done

    def __iter__(self) -> Iterator[T]:
        with self._lock:
            return iter(self._present(self._done, len(self._items)))

    @property
    def nbytes(self) -> int:
        """Bytes of the items that wait: the length of bytes and text, an estimate of the memory of anything else."""
        with self._lock:
            self._measure()
            return sum(self._sizes[self._done :])

    def flush(self) -> None:
        """
        Writes what waits to the outside now, in batches, instead of when it is due.

        Raises:
            FlushError: The flush method failed; its batch stays. The cause is chained.
        """
        if self._flush is not None:
            self._flush(self)
            return
        from warmstate.warm.tails.flushed import flushed_count

        while self:
            batch = self.batch()
            offered = len(batch)  # the flush method may empty its batch
            count = flushed_count(self, getattr(self._handler, self.tail.flush_method)(batch), offered)
            self.finished(count)
            self.commit()
            if count < offered:
                break

    # What the ledger does with it.

    def attach(self, clock: Clock, flush: Callable[[Buffer[T]], None]) -> None:
        """From now on a ledger runs this buffer of a handler that was a plain object so far; what waits in it was just appended."""
        with self._lock:
            self._clock = clock
            self._flush = flush
            self._since = [(clock.wall(), clock.monotonic())] * len(self._items)
            self._committed = 0

    def is_due(self) -> bool:
        """Whether one of the declared bounds is reached."""
        tail = self.tail
        with self._lock:
            waiting = len(self._items) - self._done
            if waiting <= 0:
                return False
            if tail.max_items is not None and waiting >= tail.max_items:
                return True
            if tail.max_age is not None and self.age() >= tail.max_age:
                return True
            return self.max_bytes is not None and self.nbytes >= self.max_bytes

    def age(self) -> float:
        """Seconds that the oldest item has waited, by whichever clock says more; infinite if the wall clock ran backwards."""
        with self._lock:
            if len(self._items) <= self._done:
                return 0.0
            wall, monotonic = self._since[self._done]
        waited = self._clock.wall() - wall
        if waited < -_CLOCK_STEP:
            return float("inf")
        if monotonic is not None:
            waited = max(waited, self._clock.monotonic() - monotonic)
        return max(0.0, waited)

    def batch(self) -> list[T]:
        """The items from the front that one call of the flush method gets: within the declared bounds, at least one."""
        with self._lock:
            start = self._done
            stop = len(self._items)
            if self.tail.max_items is not None:
                stop = min(stop, start + self.tail.max_items)
            if self.max_bytes is not None:
                self._measure()
                room = self.max_bytes
                for index in range(start, stop):
                    room -= self._sizes[index]
                    if room < 0:
                        stop = max(index, start + 1)
                        break
            return self._present(start, stop)

    def finished(self, count: int) -> None:
        """So many items from the front are written; they leave when the unit of work commits."""
        with self._lock:
            self._done += count

    def mark(self) -> Mark:
        """A savepoint to rewind to."""
        return Mark(self._base + len(self._items), self._base + self._done)

    def rewind(self, mark: Mark) -> None:
        """What was flushed since the savepoint waits again; a committed tail also loses what was appended since."""
        with self._lock:
            self._done = max(0, mark.done - self._base)
            if self.tail.commits:
                self._truncate(mark.appended - self._base)

    def rollback(self) -> None:
        """What was flushed since the last commit waits again; a committed tail also loses what was appended since."""
        with self._lock:
            self._done = 0
            self._seen.clear()
            if self.tail.commits:
                self._truncate(self._committed)

    def changed(self) -> bool:
        """Whether a commit would have something to write or to finish."""
        return self._done > 0 or len(self._items) > self._committed or bool(self._seen)

    def staged(self) -> tuple[list[Any], list[str | int | None], float, int]:
        """What a commit must write: the appended items, their ids, when the first came, and how many items leave in front."""
        with self._lock:
            # What was appended and flushed within one unit is never written, only its ids are.
            start = max(self._committed, self._done)
            since = self._since[start][0] if start < len(self._since) else 0.0
            return self._present(start, len(self._items)), self._ids[start:], since, self.leaving

    @property
    def leaving(self) -> int:
        """How many committed items leave with the next commit."""
        return min(self._done, self._committed)

    def skipped_ids(self) -> list[str | int]:
        """The ids of items that were appended and flushed within one unit: known, and never held by a commit."""
        with self._lock:
            return [id for id in self._ids[self._committed : max(self._committed, self._done)] if id is not None]

    def commit(self) -> None:
        """The unit's work holds: flushed items leave, and what waits is part of the commit."""
        with self._lock:
            if self._done:
                del self._items[: self._done], self._ids[: self._done], self._since[: self._done]
                del self._sizes[: self._done]
                self._base += self._done
                self._done = 0
                self._known.trim(self._base, len(self._items))
            self._committed = len(self._items)
            self._seen.clear()

    def adopt(
        self, segments: Sequence[tuple[list[Any], Sequence[str | int | None], float]], known: Iterable[str | int]
    ) -> None:
        """Takes over what an earlier process committed, and the ids it had seen flushed; what this one appended comes behind it."""
        with self._lock:
            own = list(zip(self._items, self._ids, strict=True))
            self._truncate(0)
            self._seen.clear()
            earlier = list(known)
            self._base = len(earlier)
            self._known = KnownIds(earlier)
            for items, ids, wall in segments:
                for item, id in zip(items, ids, strict=False):
                    if id is not None:
                        self._known.add(id, self._base + len(self._items))
                    self._items.append(item)
                    self._ids.append(id)
                    self._since.append((wall, None))
            self._committed = len(self._items)
            for item, id in own:
                self.append(item, id)

    def flushed_ids(self) -> list[str | int]:
        """The ids that stay known though their items have left, oldest first."""
        with self._lock:
            return self._known.below(self._base)

    def is_waiting(self, id: str | int) -> bool | None:
        """True while the item with this id waits, False once it is flushed, None for an id never seen."""
        with self._lock:
            number = self._known.number_of(id)
            return None if number is None else number >= self._base + self._done

    def others_are_waiting(self, ids: Container[object]) -> bool:
        """Whether an item with none of these ids waits that this unit of work appended, or tried to append again."""
        with self._lock:
            first = self._base + self._done
            return any(number >= first and self._ids[number - self._base] not in ids for number in self._seen)

    @property
    def first_number(self) -> int:
        """The number of the first item held."""
        return self._base

    def committed_items(self, start: int, count: int) -> list[Any]:
        """So many of the items that were held at the last commit."""
        with self._lock:
            return self._present(start, start + count)

    def put_away(self, first: int, count: int, load: Callable[[], list[Any]]) -> None:
        """Replaces so many items from number `first` on by their place on a disk."""
        with self._lock:
            start = first - self._base
            if start < 0:
                count, start = count + start, 0
            if count <= 0:
                return
            self._measure()
            self._items[start : start + count] = [Away(first, load)] * count
            self.away += count

    def present_range(self) -> tuple[int, list[Any]]:
        """The first run of waiting items that are in memory, and the number of its first; for those who put them away."""
        with self._lock:
            start = self._done
            while start < len(self._items) and type(self._items[start]) is Away:
                start += 1
            stop = start
            while stop < len(self._items) and type(self._items[stop]) is not Away:
                stop += 1
            return self._base + start, self._items[start:stop]

    def _present(self, start: int, stop: int) -> list[Any]:
        items = self._items[start:stop]
        segments: dict[int, list[Any]] = {}
        for index, item in enumerate(items):
            if type(item) is Away:
                segment = segments.get(id(item))
                if segment is None:
                    segment = segments[id(item)] = item.load()
                items[index] = segment[self._base + start + index - item.first]
        return items

    def _measure(self) -> None:
        for item in self._items[len(self._sizes) :]:
            if isinstance(item, (bytes, bytearray, str)):
                self._sizes.append(len(item))
            else:
                if self._weigh is None:
                    from warmstate.warm.sizes import size_of

                    self._weigh = size_of
                self._sizes.append(self._weigh(item))

    def _truncate(self, length: int) -> None:
        self._known.forget(self._ids[length:])
        del self._items[length:], self._ids[length:], self._since[length:], self._sizes[length:]
