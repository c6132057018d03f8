"""Resources: opened once, checked only after idling, replaced when over, kept by an invocation to its end, closed in reverse."""

# ruff: noqa: B018 - looking at a resource is what opens it

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time

import pytest

from tests.warm.doubles import Heard, MovedClock
from warmstate.errors import DeclarationError, LifecycleError, ResourceError
from warmstate.handler import StatefulHandler
from warmstate.instance.event_loop import EventLoop
from warmstate.lifecycle.events import Thaw
from warmstate.warm.resources import freezes
from warmstate.warm.resources.resource import ResourcePool, resource


class Live:
    """An object with a life, counted by the log it writes to."""

    def __init__(self, name, log):
        self.name = name
        self.log = log
        self.ok = True
        log.append(f"open {name}")

    def close(self):
        self.log.append(f"close {self.name}")


class Plain:
    """A class with resources that is no handler: the pool needs no more."""

    def __init__(self):
        self.log = []
        self.fail = False

    @resource(check_after=5, max_age=900)
    def bucket(self):
        if self.fail:
            raise ConnectionError("no bucket")
        bucket = Live("bucket", self.log)
        yield bucket
        bucket.close()

    @bucket.check
    def bucket_alive(self, bucket):
        self.log.append("check bucket")
        if not bucket.ok:
            raise ConnectionError("gone")

    @resource
    def table(self):
        table = Live(f"table on {self.bucket.name}", self.log)
        yield table
        table.close()


@pytest.fixture
def clock():
    return MovedClock()


@pytest.fixture
def heard():
    return Heard()


def pool_of(handler, clock, heard, call=None):
    return ResourcePool(handler, clock=clock, notices=heard, call=call)


@pytest.fixture
def handler():
    return Plain()


@pytest.fixture
def pool(handler, clock, heard):
    return pool_of(handler, clock, heard)


class TestOpening:
    def test_opened_on_first_use_and_once(self, handler, pool):
        """Nothing is opened before it is used, and then once."""
        assert handler.log == []
        first = handler.bucket

        assert handler.bucket is first
        assert handler.log == ["open bucket"]

    def test_one_of_many_threads_opens_it(self, clock, heard):
        """However many threads ask at once, one opens it and all get the same object."""

        class Slow:
            opened = 0

            @resource
            def thing(self):
                Slow.opened += 1
                time.sleep(0.05)
                yield object()

        handler = Slow()
        pool_of(handler, clock, heard)
        begin = threading.Barrier(8)
        found = []

        def ask():
            begin.wait()
            found.append(handler.thing)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert Slow.opened == 1
        assert len(set(map(id, found))) == 1

    def test_waiters_share_the_failure(self, clock, heard):
        """Those who waited for a failing attempt get its error instead of failing one after the other."""

        class Failing:
            calls = 0

            @resource
            def thing(self):
                Failing.calls += 1
                time.sleep(0.1)
                raise ConnectionError("down")
                yield

        handler = Failing()
        pool_of(handler, clock, heard)
        begin = threading.Barrier(6)
        errors = []

        def ask():
            begin.wait()
            try:
                handler.thing
            except ResourceError as error:
                errors.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(errors) == 6
        assert Failing.calls < 6

    def test_errors_name_the_resource_and_chain_the_cause(self, handler, pool):
        """A failing factory is a ResourceError that names class and resource, with the cause chained."""
        handler.fail = True
        with pytest.raises(
            ResourceError, match=r"Plain.bucket could not be opened: ConnectionError: no bucket"
        ) as caught:
            handler.bucket
        assert isinstance(caught.value.__cause__, ConnectionError)
        handler.fail = False
        assert handler.bucket.name == "bucket"

    def test_breaker_backs_off_and_recovers(self, handler, pool, clock):
        """After three failures in a row the factory is left alone, longer each time, and tried again when the pause is over."""
        handler.fail = True
        for _ in range(3):
            with pytest.raises(ResourceError, match="no bucket"):
                handler.bucket
        handler.fail = False
        with pytest.raises(ResourceError, match=r"failed to open 3 times in a row.*next attempt is in 0.5 s"):
            handler.bucket
        assert handler.log == []
        clock.jump(1)

        assert handler.bucket.name == "bucket"
        assert pool.info()["bucket"]["failures"] == 0

    def test_a_generator_without_yield(self, clock, heard):
        """A generator method that ends before its yield is an error that says so."""

        class Empty:
            @resource
            def thing(self):
                if False:
                    yield

        handler = Empty()
        pool_of(handler, clock, heard)
        with pytest.raises(ResourceError, match="without a yield"):
            handler.thing

    def test_values_cannot_be_assigned(self, handler, pool):
        """A resource is made, not assigned."""
        with pytest.raises(AttributeError, match="is a resource"):
            handler.bucket = 1


class TestChecking:
    def test_checked_only_after_idling(self, handler, pool, clock):
        """Below check_after nothing is asked; from it on the check runs once before the next use."""
        handler.bucket
        clock.pass_time(4.9)
        handler.bucket
        clock.pass_time(4.9)
        handler.bucket
        assert handler.log == ["open bucket"]
        clock.pass_time(5)
        handler.bucket

        assert handler.log == ["open bucket", "check bucket"]

    def test_failing_check_replaces(self, handler, pool, clock):
        """An object whose check raises is closed and opened anew before the handler sees it."""
        first = handler.bucket
        first.ok = False
        clock.jump(10)

        assert handler.bucket is not first
        assert handler.log == ["open bucket", "check bucket", "close bucket", "open bucket"]

    def test_hanging_check_replaces(self, clock, heard):
        """A check that does not answer within its budget counts as failed, and holds nobody up."""

        class Hanging:
            opened = 0

            @resource(check_after=1)
            def thing(self):
                Hanging.opened += 1
                yield self.opened

            @thing.check
            def alive(self, thing):
                threading.Event().wait(30)

        handler = Hanging()
        pool_of(handler, clock, heard)
        assert handler.thing == 1
        clock.pass_time(2)
        begun = time.monotonic()

        assert handler.thing == 2
        assert time.monotonic() - begun < 10

    def test_what_hangs_is_closed_by_the_thread_that_is_in_it(self, clock, heard):
        """While a check hangs in an object nobody else touches it: closing it then would break what has taken its descriptor."""
        released = threading.Event()
        closed = threading.Event()
        threads = []

        class Hanging:
            @resource(check_after=1)
            def thing(self):
                yield object()
                threads.append(threading.get_ident())
                assert released.is_set()
                closed.set()

            @thing.check
            def alive(self, thing):
                released.wait(60)

        handler = Hanging()
        pool = pool_of(handler, clock, heard)
        first = handler.thing
        clock.pass_time(2)
        assert handler.thing is not first
        assert threads == []
        released.set()

        assert closed.wait(30)
        assert len(threads) == 1
        assert pool.close_all(1) == []
        assert len(threads) == 2

    def test_thaw_checks_what_is_open_before_the_handler_runs(self, handler, pool, clock):
        """After a freeze as long as check_after an open resource is checked, also when no clock saw the freeze."""
        handler.bucket.ok = False
        pool.thawed(Thaw(60))

        assert handler.log == ["open bucket", "check bucket", "close bucket", "open bucket"]
        handler.bucket
        assert len(handler.log) == 4, "one check and one opening for one thaw"

    def test_short_freezes_ask_nothing(self, handler, pool):
        """A freeze shorter than check_after checks nothing, and what was never opened is not opened."""
        pool.thawed(Thaw(60))
        assert handler.log == []
        handler.bucket
        pool.thawed(Thaw(2))
        handler.bucket

        assert handler.log == ["open bucket"]

    def test_a_thaw_that_cannot_renew_leaves_it_to_the_next_use(self, handler, pool, heard):
        """When it cannot be opened after a freeze, that is said, and the handler that needs it gets the error."""
        handler.bucket.ok = False
        handler.fail = True
        pool.thawed(Thaw(60))
        assert any("could not be renewed" in message for _, message in heard.lines)
        with pytest.raises(ResourceError):
            handler.bucket
        handler.fail = False

        assert handler.bucket.ok

    def test_freezes_are_counted_for_the_process(self, pool):
        """A thaw is noted for what lives outside the handler."""
        before = freezes.count()
        pool.thawed(Thaw(60))

        assert freezes.count() == before + 1

    def test_sqlite_stays_on_its_thread(self, clock, heard, tmp_path):
        """A connection that belongs to its thread is checked and closed there."""

        class Database:
            @resource(check_after=1)
            def connection(self):
                connection = sqlite3.connect(tmp_path / "db")
                yield connection
                connection.close()

            @connection.check
            def alive(self, connection):
                connection.execute("select 1")

        handler = Database()
        pool = pool_of(handler, clock, heard)
        first = handler.connection
        clock.pass_time(5)
        assert handler.connection is first
        assert pool.close_all(1) == []
        assert heard.lines == []


class TestReplacing:
    def test_max_age_counts_frozen_time(self, handler, pool, clock):
        """Older than max_age by either clock means a new one, without a check."""
        handler.bucket
        clock.jump(901)
        handler.bucket

        assert handler.log == ["open bucket", "close bucket", "open bucket"]

    def test_expires_is_read_from_the_value(self, clock, heard):
        """A value with an end of its own is replaced when the wall clock has passed it: no invocation sees it expired."""

        class Token:
            @resource(expires=lambda token: token["until"])
            def token(self):
                yield {"until": clock.wall() + 60}

        handler = Token()
        pool_of(handler, clock, heard)
        for _ in range(1000):
            clock.jump(37)
            assert handler.token["until"] > clock.wall()

    def test_an_invocation_keeps_its_object(self, handler, pool, clock):
        """One invocation sees one object to its end; the next gets the new one, and the old one is closed when its user ends."""
        pool.begin("a")
        first = handler.bucket
        clock.pass_time(1000)
        assert handler.bucket is first

        seen = []

        def other():
            pool.begin("b")
            seen.append(handler.bucket)
            pool.end("b")

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert seen[0] is not first
        assert handler.bucket is first
        assert "close bucket" not in handler.log
        pool.end("a")

        assert handler.log.count("close bucket") == 1
        pool.begin("c")
        assert handler.bucket is seen[0]
        pool.end("c")

    def test_dependents_follow_what_they_need(self, handler, pool, clock):
        """When a dependency was replaced, what was opened with it is opened anew, and the old pair is closed in order."""
        handler.table
        clock.jump(901)
        handler.bucket
        assert handler.log == ["open bucket", "open table on bucket", "open bucket"], (
            "the old bucket serves its table still"
        )
        handler.table

        assert handler.log[3:] == ["close table on bucket", "close bucket", "open table on bucket"]

    def test_unshared_is_one_per_invocation(self, clock, heard):
        """With shared=False two invocations in flight have two objects, and later ones use them again."""

        class Each:
            @resource(shared=False)
            def cursor(self):
                yield object()

        handler = Each()
        pool = pool_of(handler, clock, heard)
        pool.begin("a")
        mine = handler.cursor
        assert handler.cursor is mine
        others = []

        def other():
            pool.begin("b")
            others.append(handler.cursor)
            pool.end("b")

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        pool.end("a")
        pool.begin("c")

        assert others[0] is not mine
        assert handler.cursor in (mine, others[0])
        assert pool.info()["cursor"]["opened"] == 2


class TestClosing:
    def test_reverse_order(self, handler, pool):
        """What was opened last is closed first."""
        handler.table

        assert pool.close_all(1) == []
        assert handler.log[2:] == ["close table on bucket", "close bucket"]
        assert handler.bucket, "it opens anew when it is used again"

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


class TestDeclaring:
    def test_a_circle_is_an_error_at_class_creation(self):
        """A circle of resources is refused when the class is created, with the path, also through helper methods."""
        with pytest.raises(DeclarationError, match=r"a -> c -> b -> a|a -> b -> c -> a|circle: a -> .* -> a"):

            class Circle(StatefulHandler):
                @resource
                def a(self):
                    yield self.b

                @resource
                def b(self):
                    yield self.helper()

                def helper(self):
                    return [self.c for _ in range(2)]

                @resource
                def c(self):
                    yield self.a

    def test_same_names_elsewhere_are_no_circle(self):
        """An attribute of something else with a resource's name is no use of the resource."""

        class Fine(StatefulHandler):
            @resource
            def a(self):
                client = object
                yield client.b

            @resource
            def b(self):
                yield self.a

        assert set(Fine.__warmstate__.resources) == {"a", "b"}

    def test_a_hidden_circle_is_an_error_when_it_happens(self, clock, heard):
        """A circle that the code hides is a ResourceError with the path instead of a recursion."""

        class Hidden:
            @resource
            def a(self):
                yield getattr(self, "".join("b"))

            @resource
            def b(self):
                yield self.a

        handler = Hidden()
        pool_of(handler, clock, heard)
        with pytest.raises(ResourceError, match="in a circle: a -> b -> a"):
            handler.a

    def test_only_generators(self):
        """A method without yield is refused with what to write."""
        with pytest.raises(DeclarationError, match="yield"):

            @resource
            def thing(self):
                return 1

    @pytest.mark.parametrize(
        "options",
        [
            {"check_after": -1},
            {"check_after": float("nan")},
            {"check_after": "5"},
            {"max_age": 0},
            {"max_age": -5},
            {"max_age": float("nan")},
            {"expires": 5},
        ],
    )
    def test_times_are_positive(self, options):
        """Times that cannot be are refused where they are written."""
        with pytest.raises(DeclarationError, match=r"seconds|write a function that takes the open value"):
            resource(**options)

    def test_a_check_is_overridden_by_its_name(self, clock, heard):
        """A subclass overrides the check as any method; redeclaring the resource replaces it."""

        class Sub(Plain):
            def bucket_alive(self, bucket):
                self.log.append("check in subclass")

        handler = Sub()
        pool_of(handler, clock, heard)
        handler.bucket
        clock.pass_time(6)
        handler.bucket

        assert handler.log == ["open bucket", "check in subclass"]

    def test_usable_without_an_instance(self):
        """In a plain test a handler's resources open on use."""
        assert Plain().bucket.name == "bucket"

    def test_info_is_plain(self, handler, pool, clock):
        """Health is told as plain values, for what is open and what is not."""
        handler.bucket
        clock.pass_time(3)

        assert pool.info()["bucket"]["phase"] == "open"
        assert pool.info()["bucket"]["age"] == 3

    def test_async_close_without_a_loop_is_said(self, clock, heard):
        """Without an instance's loop an async resource cannot be closed from outside, which is said."""

        class Async:
            @resource
            async def thing(self):
                yield 1

        handler = Async()
        pool = pool_of(handler, clock, heard)

        async def ask():
            return await handler.thing

        assert asyncio.run(ask()) == 1
        pool.close_all(1)
        assert any(LifecycleError.__name__ in message for _, message in heard.lines)
