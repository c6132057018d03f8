"""Resources are closed in reverse, each within its share of the time; asynchronous ones on their loop."""

# ruff: noqa: B018 - looking at a resource is what opens it

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.warm.resources.conftest import pool_of
from warmstate.instance.event_loop import EventLoop
from warmstate.lifecycle.events import Thaw
from warmstate.warm.resources.resource import ResourcePool, resource


class TestClosing:
    def test_reverse_order(self, handler, pool):
        """What was opened last is closed first."""
        handler.table

        assert pool.close_all(1) == []
        assert handler.log[2:] == ["close table on bucket", "close bucket"]
        assert handler.bucket, "it opens anew when it is used again"

    def test_what_is_closed_first_may_use_the_others(self, clock, heard):
        """A close that looks at another resource finds the one that is still open, and opens none that nobody would close."""
        log = []

        class Ends:
            @resource
            def connection(self):
                log.append("open")
                yield "connection"
                log.append("close")

            @resource
            def session(self):
                self.connection
                yield "session"
                log.append(f"goodbye on {self.connection}")

        ends = Ends()
        pool = pool_of(ends, clock, heard)
        ends.session
        assert pool.close_all(1) == []
        assert log == ["open", "goodbye on connection", "close"]

    def test_one_that_fails_and_one_that_hangs_do_not_keep_the_others(self, clock, heard):
        """Each close has its share: a failing one is said, a hanging one is cut and named, the rest still close."""
        log = []

        class Trouble:
            @resource
            def first(self):
                yield 1
                log.append("first")

            @resource
            def failing(self):
                yield 2
                raise OSError("no")

            @resource
            def hanging(self):
                yield 3
                threading.Event().wait(60)

            @resource
            def exiting(self):
                yield 4
                raise SystemExit(3)

            @resource
            def last(self):
                yield 5
                log.append("last")

        handler = Trouble()
        pool = ResourcePool(handler, notices=heard)
        assert [handler.first, handler.failing, handler.hanging, handler.exiting, handler.last] == [1, 2, 3, 4, 5]
        begun = time.monotonic()
        overruns = pool.close_all(0.5)

        assert time.monotonic() - begun < 5
        assert [overrun.name for overrun in overruns] == ["hanging"]
        assert log == ["last", "first"]
        assert any("failing failed: OSError: no" in message for _, message in heard.lines)

    def test_two_yields_are_said(self, clock, heard):
        """What stands after a second yield never runs, and that is said."""

        class Twice:
            @resource
            def thing(self):
                yield 1
                yield 2

        handler = Twice()
        pool = pool_of(handler, clock, heard)
        handler.thing
        pool.close_all(1)

        assert any("yielded twice" in message for _, message in heard.lines)


class TestAsync:
    @pytest.fixture
    def loop(self):
        loop = EventLoop()
        yield loop
        loop.close()

    def make(self, clock, heard, loop):
        class Async:
            def __init__(self):
                self.log = []
                self.ok = True

            @resource(check_after=5)
            async def pool(self):
                await asyncio.sleep(0.01)
                self.log.append("open")
                yield object()
                await asyncio.sleep(0)
                self.log.append("close")

            @pool.check
            async def alive(self, pool):
                self.log.append("check")
                await asyncio.sleep(0)
                if not self.ok:
                    self.ok = True
                    raise ConnectionError("gone")

        def call(function, *arguments, budget=None):
            result = function(*arguments)
            return loop.run(result, budget=budget) if hasattr(result, "__await__") else result

        handler = Async()
        return handler, pool_of(handler, clock, heard, call)

    def test_single_flight_on_the_loop(self, clock, heard, loop):
        """Of many tasks that await it at once one opens it, and they share it."""
        handler, pool = self.make(clock, heard, loop)

        async def main():
            async def ask():
                return await handler.pool

            return await asyncio.gather(*(ask() for _ in range(10)))

        found = loop.run(main())

        assert len(set(map(id, found))) == 1
        assert handler.log == ["open"]
        assert pool.close_all(1) == []
        assert handler.log == ["open", "close"]

    def test_one_at_a_time_also_when_the_turn_changes_hands(self, clock, heard, loop):
        """A task asks again while the one that waited for it has not run yet: still one check, and one new opening."""
        handler, _ = self.make(clock, heard, loop)

        async def main():
            async def first():
                await handler.pool
                clock.pass_time(100)
                handler.ok = False
                return await handler.pool

            return await asyncio.gather(first(), *(self.ask(handler) for _ in range(3)))

        found = loop.run(main())

        assert (2, 1) == (handler.log.count("open"), handler.log.count("check"))
        assert len(set(map(id, found))) == 1

    async def ask(self, handler):
        return await handler.pool

    def test_thaw_renews(self, clock, heard, loop):
        """After a freeze the async check runs on the loop, and a dead one is opened anew."""
        handler, pool = self.make(clock, heard, loop)

        async def ask():
            return await handler.pool

        first = loop.run(ask())
        handler.ok = False
        pool.thawed(Thaw(60))

        assert loop.run(ask()) is not first
        assert handler.log == ["open", "check", "close", "open"]
        pool.close_all(1)

    def test_hanging_close_is_cut(self, clock, heard, loop):
        """An async close that hangs is cancelled after its share, and named."""

        class Hanging:
            @resource
            async def thing(self):
                yield 1
                await asyncio.sleep(60)

        def call(function, *arguments, budget=None):
            result = function(*arguments)
            return loop.run(result, budget=budget) if hasattr(result, "__await__") else result

        handler = Hanging()
        pool = ResourcePool(handler, notices=heard, call=call)

        async def ask():
            return await handler.thing

        assert loop.run(ask()) == 1
        assert [overrun.name for overrun in pool.close_all(0.2)] == ["thing"]
