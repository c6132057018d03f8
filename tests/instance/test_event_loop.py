"""Async code of users, also where it misbehaves: it ends with its invocation, and the next one is served."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from contextvars import ContextVar

import pytest

from tests.instance.driving import PATIENCE, serve
from warmstate import StatefulHandler
from warmstate.instance.event_loop import EventLoop
from warmstate.lifecycle.events import Thaw


class Async(StatefulHandler):
    """Runs what the test puts into `work`, one after another."""

    concurrency = "async"

    def __init__(self) -> None:
        self.work = []
        self.log = []

    async def handle(self, event, context):
        if self.work:
            return await self.work.pop(0)(self)
        return "served"


async def _exit(handler):
    sys.exit(3)


async def _interrupt(handler):
    raise KeyboardInterrupt


async def _cancel(handler):
    raise asyncio.CancelledError


async def _stop_the_loop(handler):
    asyncio.get_running_loop().stop()
    try:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    finally:
        handler.log.append("cleaned up")


async def _exit_in_a_task(handler):
    task = asyncio.ensure_future(_exit(handler))
    try:
        await asyncio.sleep(PATIENCE)
    finally:
        if isinstance(task.exception(), SystemExit):  # asked for, or asyncio complains that nobody did
            handler.log.append("cleaned up")


@pytest.mark.parametrize("many", [None, 2])
@pytest.mark.parametrize(
    ("misbehave", "told"),
    [(_exit, "Runtime.HandlerExit"), (_interrupt, "KeyboardInterrupt"), (_cancel, "CancelledError")],
)
def test_whatever_a_coroutine_raises_fails_its_invocation_alone(begun, many, misbehave, told) -> None:
    """Also what asyncio lets end the whole loop: it fails one invocation, and the loop serves the next."""
    instance = begun(Async, many=many)
    instance.handler.work = [misbehave]

    assert told == serve(instance).error_type
    assert b'"served"' == serve(instance).body


@pytest.mark.parametrize("misbehave", [_stop_the_loop, _exit_in_a_task])
def test_a_loop_that_ends_early_leaves_nothing_for_the_next_event(begun, misbehave) -> None:
    """A stopped loop, or an exit in a background task: the handler is cancelled then and there, not in the next event."""
    instance = begun(Async)
    handler = instance.handler
    handler.work = [misbehave]

    assert serve(instance).error_type in {"Runtime.LifecycleError", "Runtime.HandlerExit"}
    assert ["cleaned up"] == handler.log
    assert b'"served"' == serve(instance).body


async def _schedule(handler):
    asyncio.get_running_loop().call_soon(handler.log.append, "ran")
    return "scheduled"


async def _hear_the_end(handler):
    asyncio.current_task().add_done_callback(lambda _: handler.log.append("ran"))
    return "heard"


async def _begin_a_task(handler):
    async def first_step():
        handler.log.append("ran")

    handler.task = asyncio.ensure_future(first_step())


@pytest.mark.parametrize("leave", [_schedule, _hear_the_end, _begin_a_task])
def test_what_the_last_step_set_going_runs_before_the_answer(begun, leave) -> None:
    """A connection that is closed at the end of a handler is closed then, not hours later in the next event."""
    instance = begun(Async)
    instance.handler.work = [leave]

    serve(instance)

    assert ["ran"] == instance.handler.log


def test_work_that_was_given_up_does_not_end_the_loop_of_the_next_event(begun) -> None:
    """A handler that swallows its cancellation and ends in the middle of the next event leaves that one alone."""
    instance = begun(Async)
    handler = instance.handler

    async def stubborn(handler):
        asyncio.get_running_loop().stop()
        while not handler.log:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass

    async def let_it_end(handler):
        handler.log.append("end")
        await asyncio.sleep(0.1)
        return "whole"

    handler.work = [stubborn, let_it_end]

    assert "Runtime.LifecycleError" == serve(instance).error_type
    assert b'"whole"' == serve(instance).body


def test_an_exit_in_a_task_of_one_caller_keeps_the_others(begun) -> None:
    """On the standing loop an exiting background task ends nobody else's work."""
    instance = begun(Async, many=2)

    async def leave_a_task(handler):
        task = asyncio.ensure_future(_exit(handler))
        await asyncio.sleep(0.05)
        return str(type(task.exception()).__name__)

    instance.handler.work = [leave_a_task]

    assert b'"SystemExit"' == serve(instance).body
    assert b'"served"' == serve(instance).body


def test_a_timeout_of_the_users_own_is_told_as_it_is(begun) -> None:
    """A TimeoutError that on_thaw raised is not taken for a budget that ran out."""

    class Impatient(StatefulHandler):
        async def on_thaw(self, thaw):
            raise TimeoutError("the database did not answer")

        def handle(self, event, context):
            return None

    instance = begun(Impatient)

    assert b"the database did not answer" in serve(instance, thaw=Thaw(20.0, 20.0)).body


def test_a_hook_that_ignores_its_cancellation_is_left_behind(begun) -> None:
    """An on_thaw that swallows its cancellation fails the invocation, says so, and does not hang it."""

    class Stubborn(StatefulHandler):
        async def on_thaw(self, thaw):
            while True:
                try:
                    await asyncio.sleep(PATIENCE * 2)
                except asyncio.CancelledError:
                    pass

        def handle(self, event, context):
            return None

    failure = serve(begun(Stubborn), thaw=Thaw(20.0, 20.0), seconds=2.0)

    assert ("TimeoutError", True) == (failure.error_type, b"ignores that" in failure.body)


def test_work_handed_to_a_loop_whose_driver_leaves_is_still_done() -> None:
    """Two threads share the loop: when the one that drives it is done, the other drives it to the end of its own work."""
    loop = EventLoop()
    running = threading.Event()
    done = []

    async def short():
        running.set()
        await asyncio.sleep(0.05)

    async def longer():
        await asyncio.sleep(0.15)
        return "done"

    threads = [
        threading.Thread(target=lambda: loop.run(short()), daemon=True),
        threading.Thread(target=lambda: running.wait() and done.append(loop.run(longer())), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert ["done"] == done
    loop.close()


def test_closing_bounds_what_ignores_its_end() -> None:
    """A task that swallows its cancellation does not keep the loop from closing."""
    loop = EventLoop()

    async def stubborn():
        while True:
            try:
                await asyncio.sleep(PATIENCE * 2)
            except asyncio.CancelledError:
                pass

    async def leave():
        task = asyncio.ensure_future(stubborn())
        task._log_destroy_pending = False
        await asyncio.sleep(0)
        return task

    kept = loop.run(leave())
    began = time.monotonic()
    loop.close()

    assert time.monotonic() - began < PATIENCE
    assert not kept.done()


FROM_INIT = ContextVar("FROM_INIT", default="nothing")
FROM_THAW = ContextVar("FROM_THAW", default="nothing")


class PlainHooks(StatefulHandler):
    concurrency = "async"

    def on_init(self, init):
        FROM_INIT.set("init")

    def on_thaw(self, thaw):
        FROM_THAW.set("thaw")

    async def handle(self, event, context):
        seen = [FROM_INIT.get(), FROM_THAW.get()]
        FROM_INIT.set("an invocation")
        return seen


class AsyncHooks(PlainHooks):
    async def on_init(self, init):
        await asyncio.sleep(0)
        FROM_INIT.set("init")

    async def on_thaw(self, thaw):
        await asyncio.sleep(0)
        FROM_THAW.set("thaw")


@pytest.mark.parametrize("many", [None, 2])
@pytest.mark.parametrize("cls", [PlainHooks, AsyncHooks])
def test_context_variables_of_hooks_reach_the_handler(begun, cls, many) -> None:
    """Those of on_init reach every invocation, those of on_thaw its own, wherever the hook ran; no invocation changes them."""
    instance = begun(cls, many=many)

    assert b'["init", "nothing"]' == serve(instance).body
    assert b'["init", "thaw"]' == serve(instance, thaw=Thaw(20.0, 20.0)).body
    assert b'["init", "nothing"]' == serve(instance).body
    assert "nothing" == FROM_INIT.get()


def test_an_abandoned_loop_runs_nothing_more() -> None:
    """A killed process runs no `finally`: letting go of a loop leaves its tasks where they wait."""
    loop = EventLoop()
    log = []

    async def waiting():
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            log.append("ran")

    async def leave():
        task = asyncio.ensure_future(waiting())
        await asyncio.sleep(0)
        return task

    kept = loop.run(leave())
    loop.abandon()

    assert ([], False) == (log, kept.done())
    del kept


def test_plain_code_on_the_loop_cannot_wait_for_the_loop() -> None:
    """Waiting would never end, so it is refused with advice."""
    loop = EventLoop()

    async def nested():
        loop.run(asyncio.sleep(0))

    with pytest.raises(Exception, match="async def"):
        loop.run(nested())
    loop.close()
