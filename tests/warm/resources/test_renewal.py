"""Resources are checked only after idling, replaced when over, and kept by an invocation to its end."""

# ruff: noqa: B018 - looking at a resource is what opens it

from __future__ import annotations

import sqlite3
import threading
import time

import pytest

from tests.warm.resources.conftest import pool_of
from warmstate.errors import ResourceError
from warmstate.lifecycle.events import Thaw
from warmstate.warm.resources import freezes
from warmstate.warm.resources.resource import resource


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
