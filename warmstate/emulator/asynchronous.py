"""
Asynchronous invocations: accepted at once, run later, tried again under the same request id when they fail.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from warmstate.emulator.attempt import Attempt
from warmstate.wire.invoke_api import ApiError, throttled

if TYPE_CHECKING:
    from warmstate.emulator.pool import Pool
    from warmstate.emulator.service import Service

__all__ = ["EventQueue"]

THROTTLED: Final = 429
THROTTLE_WAIT: Final = 0.1
"""First pause, in seconds, before a throttled event is tried again; doubles up to `THROTTLE_MOST`."""
THROTTLE_MOST: Final = 5.0
QUEUED_MOST: Final = 10_000
QUEUED_BYTES: Final = 64 << 20
"""Events, and bytes of them, that may wait; Lambda's queue has room for more than this machine."""
EVENT_AGE: Final = 6 * 3600.0
"""Seconds from its acceptance after which an event is given up, however many tries it had."""


class EventQueue:
    """The events that were accepted and are not done; each waits in a task of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._tasks)

    def put(self, pool: Pool, attempt: Attempt) -> None:
        """
        Accept an event.

        Raises:
            ApiError: Too many are waiting.
        """
        size = len(attempt.payload)
        if len(self._tasks) >= QUEUED_MOST or self._bytes + size > QUEUED_BYTES:
            raise throttled("ConcurrentInvocationLimitExceeded")
        self._bytes += size
        self._service.journal.add("warmstate.accepted", pool.function.name, requestId=attempt.request_id)
        task = asyncio.get_running_loop().create_task(self._run(pool, attempt))
        self._tasks.add(task)

        def forget(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            self._bytes -= size
            self._service.note_fault(done)

        task.add_done_callback(forget)

    async def _run(self, pool: Pool, attempt: Attempt) -> None:
        delays = list(pool.function.retry_delays)
        loop, tries = asyncio.get_running_loop(), 0
        end = loop.time() + EVENT_AGE
        while True:
            tries += 1
            outcome = await self._try(pool, attempt, end)
            if outcome == "dropped":
                self._note(pool, attempt, "dropped", tries - 1)
                return
            if outcome == "ran" and not attempt.answer.result().error_type:
                self._note(pool, attempt, "success", tries)
                return
            if not delays:
                self._note(pool, attempt, "failed", tries)
                return
            delay = delays.pop(0)
            if loop.time() + delay > end:
                self._note(pool, attempt, "dropped", tries)
                return
            await asyncio.sleep(delay)
            attempt = again(attempt)

    async def _try(self, pool: Pool, attempt: Attempt, end: float) -> Literal["ran", "refused", "dropped"]:
        """Run it once, waiting while the function is throttled; "dropped" when it is not to be run any more."""
        loop, pause = asyncio.get_running_loop(), THROTTLE_WAIT
        while True:
            try:
                # The function may have been replaced meanwhile: the new one takes what waits for it.
                await self._service.run(self._service.pools.get(pool.function.name, pool), attempt)
                return "ran"
            except ApiError as error:
                if error.status != THROTTLED:
                    return "refused"
                if pool.function.name not in self._service.pools or loop.time() > end:
                    return "dropped"
            await asyncio.sleep(pause)
            pause = min(2 * pause, THROTTLE_MOST)

    def _note(self, pool: Pool, attempt: Attempt, status: str, tries: int) -> None:
        self._service.journal.add(
            "warmstate.event",
            pool.function.name,
            attempt.instance,
            requestId=attempt.request_id,
            status=status,
            attempts=tries,
        )

    async def close(self) -> None:
        """Drop what waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def again(attempt: Attempt) -> Attempt:
    """The same event once more: same request id, new invocation id."""
    return Attempt(
        attempt.payload,
        request_id=attempt.request_id,
        content_type=attempt.content_type,
        tenant_id=attempt.tenant_id,
        trace_id=attempt.trace_id,
        qualifier=attempt.qualifier,
        on_instance=attempt.on_instance,
    )
