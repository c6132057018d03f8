"""Resources are opened once, on first use, and declared so that mistakes show early."""

# ruff: noqa: B018 - looking at a resource is what opens it

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.warm.resources.conftest import Plain, pool_of
from warmstate.errors import DeclarationError, LifecycleError, ResourceError
from warmstate.handler import StatefulHandler
from warmstate.warm.resources.resource import resource


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
        """A resource is made and closed, not assigned and deleted."""
        with pytest.raises(AttributeError, match="is a resource"):
            handler.bucket = 1
        with pytest.raises(AttributeError, match="is a resource"):
            del handler.bucket


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

    def test_what_init_opened_is_the_pools(self, handler, clock, heard):
        """A resource that was used before there was a pool is checked, aged and closed by it, and its age is by the pool's clock."""
        table = handler.table
        pool = pool_of(handler, clock, heard)
        assert handler.table is table
        clock.pass_time(6)
        assert handler.bucket.name == "bucket"
        clock.pass_time(900)
        assert handler.bucket.name == "bucket"
        assert handler.table is not table
        assert pool.close_all(1) == []
        assert handler.log.count("check bucket") == 1
        assert handler.log[-2:] == ["close table on bucket", "close bucket"]
        assert handler.log.count("open bucket") == handler.log.count("close bucket") == 2

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
