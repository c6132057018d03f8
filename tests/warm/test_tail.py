"""Tails against a list: appends, partial, failing and greedy flushes, spills, freezes, rollbacks, resets and shutdowns."""

from __future__ import annotations

import shutil
import tempfile

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.warm.conftest import HandClock, Heard
from warmstate.errors import FlushError
from warmstate.handler import StatefulHandler
from warmstate.warm.budget import MemoryBudget
from warmstate.warm.commits.journal import Journal
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.spill.spill import Spill
from warmstate.warm.tails.tail import Tail, tail

MOST = 4


class Loose(StatefulHandler):
    """Its tail lives in memory."""

    rows: Tail[bytes] = tail(max_items=MOST, max_bytes=20_000, max_age=30)

    def __init__(self):
        self.outside = []
        self.answer = None

    @rows.flush
    def write(self, batch):
        assert 1 <= len(batch) <= MOST
        assert len(batch) == 1 or sum(map(len, batch)) <= 20_000
        if self.answer == "raise":
            raise OSError("no")
        count = min(self.answer, len(batch)) if isinstance(self.answer, int) else len(batch)
        self.outside += batch[:count]
        if self.answer == "empty":
            batch.clear()
        return count if isinstance(self.answer, int) else None


class Kept(StatefulHandler):
    """The same, and it survives a reset."""

    rows: Tail[bytes] = tail(max_items=MOST, max_bytes=20_000, max_age=30, survives="reset")
    __init__ = Loose.__init__
    write = rows.flush(Loose.__dict__["write"])


class TailMachine(RuleBasedStateMachine):
    """
    `waiting` is what the tail holds, `written` how many of them a flush of the open unit wrote, `committed` what a new process of a
    kept tail begins with; `known` are the ids that are taken, each of them in exactly one item ever.
    """

    kind = Loose

    def __init__(self):
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.clock = HandClock()
        self.made = 0
        self.committed, self.committed_ids = [], set()
        self.boot()

    def teardown(self):
        self.end()
        shutil.rmtree(self.directory)

    def boot(self):
        self.handler = self.kind()
        self.spill = Spill(self.directory, budget=10**7, reserve=0)
        self.ledger = Ledger(
            self.handler,
            self.kind.__warmstate__,
            backend=Journal(self.directory) if self.kind is Kept else None,
            clock=self.clock,
            notices=Heard(),
            spill=lambda: self.spill,
            budget=lambda: MemoryBudget(5_000),
        )
        self.ledger.open()
        self.waiting, self.known = list(self.committed), set(self.committed_ids)
        self.written = 0

    def end(self):
        self.ledger.close()
        self.spill.close()

    def flushed(self, before):
        """What the flushes of this step wrote must be what waited longest, in order."""
        new = self.handler.outside[before:]
        assert self.waiting[self.written : self.written + len(new)] == new
        self.written += len(new)

    def commit(self):
        self.ledger.commit("r")
        self.waiting = self.waiting[self.written :]
        self.written = 0
        if self.kind is Kept:
            self.committed, self.committed_ids = list(self.waiting), set(self.known)

    def roll_back(self):
        self.ledger.rollback()
        self.written = 0
        if self.kind is Kept:
            self.waiting, self.known = list(self.committed), set(self.committed_ids)

    @rule(
        sizes=st.lists(st.sampled_from([0, 10, 6_000, 15_000, 25_000]), max_size=7),
        ids=st.lists(st.one_of(st.none(), st.integers(0, 30), st.sampled_from(["a", "b"])), min_size=7, max_size=7),
        answer=st.sampled_from([None, None, "raise", "empty", 0, 1, 3]),
        explicit=st.booleans(),
        end=st.sampled_from(["commit", "commit", "commit", "fail", "die"]),
    )
    def unit(self, sizes, ids, answer, explicit, end):
        """One invocation."""
        self.handler.answer = answer
        self.ledger.begin("handle")
        for size, id in zip(sizes, ids, strict=False):
            self.made += 1
            item = self.made.to_bytes(4, "big") + bytes(size)
            added = self.handler.rows.append(item, id=id)
            assert added == (id is None or id not in self.known)
            if added:
                self.waiting.append(item)
                self.known |= set() if id is None else {id}
        before = len(self.handler.outside)
        if explicit:
            try:
                self.handler.rows.flush()
            except FlushError:
                assert answer == "raise"
        self.ledger.flush_due()
        self.flushed(before)
        if answer in {None, "empty"} and self.handler.rows.failures == 0:
            assert len(self.handler.rows) < MOST
        if end == "commit":
            self.commit()
        elif end == "fail":
            self.roll_back()
        else:
            self.end()
            self.boot()

    @rule()
    def settle(self):
        """Spills what is over the budget, and compacts."""
        for _ in range(16):  # it measures now and then
            self.ledger.settle()

    @rule(seconds=st.sampled_from([1, 10, 40, 4000]))
    def freeze(self, seconds):
        """Time passes; what is too old goes with the next thing that runs."""
        self.clock.seconds += seconds
        self.handler.answer = None
        before = len(self.handler.outside)
        oldest = self.handler.rows.age()
        paused = self.handler.rows.retry_at is not None
        self.ledger.flush_due()
        self.flushed(before)
        self.commit()
        if oldest >= 30 and (seconds > 60 or not paused):
            assert not len(self.handler.rows)

    @rule()
    def shut_down(self):
        """Everything is flushed at the end, and the next process begins with nothing."""
        self.handler.answer = None
        before = len(self.handler.outside)
        self.ledger.flush_due(shutdown=True)
        self.flushed(before)
        self.commit()
        assert not len(self.handler.rows)
        self.end()
        self.boot()

    @invariant()
    def agrees(self):
        """The tail is the list."""
        rows = self.handler.rows
        assert list(rows) == self.waiting[self.written :]
        assert len(rows) == len(self.waiting) - self.written
        assert rows.nbytes == sum(map(len, self.waiting[self.written :]))


class KeptTailMachine(TailMachine):
    """The same for a tail that survives a reset."""

    kind = Kept


class TestLooseTail(TailMachine.TestCase):
    settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


class TestKeptTail(KeptTailMachine.TestCase):
    settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("result", [-1, 5, True, "1", 1.0, [1]])
def test_a_flush_that_returns_no_count_keeps_its_batch(result):
    """Only a whole number from 0 to what it got, or None, says what was written; anything else is a failed flush that is told."""

    class Odd(StatefulHandler):
        rows: Tail[int] = tail(max_items=2)

        @rows.flush
        def write(self, batch):
            return result

    handler, heard = Odd(), Heard()
    ledger = Ledger(handler, Odd.__warmstate__, notices=heard)
    handler.rows.extend([1, 2])
    ledger.flush_due()

    assert [1, 2] == list(handler.rows)
    assert f"got 2 items and returned {result!r}" in heard.said[0]


@pytest.mark.parametrize("id", [1.5, True, b"x", ["a"], ("a",)])
def test_an_id_is_text_or_a_number(id):
    """What could not come back from a disk as the same id is refused, by name."""
    handler = Loose()
    Ledger(handler, Loose.__warmstate__)
    with pytest.raises(TypeError, match=r"rows: an id is text or a whole number, not "):
        handler.rows.append(b"x", id=id)
    assert not len(handler.rows)
