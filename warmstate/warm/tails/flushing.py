"""
When tails are flushed, and what a flush that fails means.

1. A batch leaves its tail when the unit of work around the flush commits; outside of one, each batch is a unit of its own.
2. Reached bounds flush full batches and leave the rest; age, a near deadline and the end flush everything.
3. A failed flush changes nothing and pauses its tail; the pauses double, and shutdown and an explicit flush ignore them.
4. A flush that finishes only part of a batch has its reasons, and is no failure: it is asked again when the tail is due
   next, and if it finished nothing, a second later at the earliest. At shutdown there is no next time: it is asked again at
   once, for as long as it finishes something.
"""

from __future__ import annotations

import _thread

from warmstate.errors import FlushError, LifecycleError
from warmstate.warm.tails.flushed import flushed_count, method_of
from warmstate.wire.failure import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from warmstate.warm.commits.unit import Ledger
    from warmstate.warm.tails.buffer import Buffer

__all__ = ["Flushing"]

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_NEAR_DEADLINE = 0.25
"""Seconds; with so little left, or less than twice what the last flush took, the next invocations may well not end in time."""


class Flushing:
    """Flushes the tails of one ledger, one at a time."""

    __slots__ = ("_call", "_ledger", "_lock", "_running")

    def __init__(self, ledger: Ledger, call: Callable[..., Any] | None) -> None:
        self._ledger = ledger
        self._call = _call_directly if call is None else call
        self._lock = _thread.RLock()
        self._running: list[Buffer[Any]] = []

    def due(self, buffers: Sequence[Buffer[Any]], deadline_left: float | None, *, shutdown: bool) -> None:
        """Flushes what is due; a failure is told and pauses its tail."""
        for buffer in buffers:
            if not len(buffer) or (self._pauses(buffer) and not shutdown):
                continue
            max_age = buffer.tail.max_age
            near = deadline_left is not None and 0 < deadline_left < max(_NEAR_DEADLINE, 2 * buffer.last_flush_seconds)
            everything = shutdown or near or (max_age is not None and buffer.age() >= max_age)
            if not everything and not buffer.is_due():
                continue
            try:
                self._flush(buffer, everything=everything, last=shutdown)
            except BaseException as error:  # noqa: BLE001 - whatever a flush raises, its batch stays and the rest goes on
                self._failed(buffer, error)

    def now(self, buffer: Buffer[Any]) -> None:
        """
        Flushes all that waits.

        Raises:
            FlushError: The flush method failed; its batch stays.
        """
        try:
            self._flush(buffer, everything=True)
        except (FlushError, LifecycleError):
            raise
        except Exception as error:
            raise FlushError(f"{method_of(buffer)} failed, its batch is kept: {describe(error)}") from error

    def _flush(self, buffer: Buffer[Any], *, everything: bool, last: bool = False) -> None:
        with self._lock:
            if buffer in self._running:
                raise LifecycleError(
                    f"{method_of(buffer)} flushes its own tail: return how many items are written instead"
                )
            self._running.append(buffer)
            try:
                waiting = len(buffer)
                while waiting > 0 and (everything or buffer.is_due()):
                    offered, count = self._write_batch(buffer)
                    waiting -= count
                    buffer.failures = 0
                    buffer.retry_at = None
                    if count == 0:
                        self._pause(buffer)
                    if count == 0 or (count < offered and not last):
                        break
            finally:
                self._running.remove(buffer)

    def _write_batch(self, buffer: Buffer[Any]) -> tuple[int, int]:
        ledger = self._ledger
        alone = ledger.unit is None
        batch = buffer.batch()
        offered = len(batch)  # the flush method may empty its batch
        savepoint = ledger.savepoint()
        began = ledger.clock.monotonic()
        try:
            result = self._call(getattr(ledger.handler, buffer.tail.flush_method), batch)
            count = flushed_count(buffer, result, offered)
        except BaseException:
            ledger.rewind(savepoint)
            raise
        ledger.release(savepoint)
        buffer.last_flush_seconds = ledger.clock.monotonic() - began
        buffer.flushes += 1
        buffer.finished(count)
        if alone and not self._running[1:]:
            try:
                ledger.commit()
            except BaseException:
                ledger.rollback()
                raise
        return offered, count

    def _pauses(self, buffer: Buffer[Any]) -> bool:
        if buffer.retry_at is None:
            return False
        wall, monotonic = buffer.retry_at
        clock = self._ledger.clock
        return clock.wall() < wall and clock.monotonic() < monotonic

    def _pause(self, buffer: Buffer[Any]) -> float:
        clock = self._ledger.clock
        pause: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(buffer.failures, 10))
        buffer.failures += 1
        buffer.retry_at = (clock.wall() + pause, clock.monotonic() + pause)
        return pause

    def _failed(self, buffer: Buffer[Any], error: BaseException) -> None:
        pause = self._pause(buffer)
        self._ledger.notices.warning(
            f"{method_of(buffer)} failed ({describe(error)}): its {len(buffer)} items wait, "
            f"and the next try is in {pause:.0f} s at the earliest.",
            tail=buffer.tail.name,
            waiting=len(buffer),
            failures=buffer.failures,
        )


def _call_directly(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
