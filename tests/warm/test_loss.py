"""A long tail with interruptions at random points: what is lost, in which order things arrive, how often is flushed."""

import random

import pytest

from tests.warm.conftest import HandClock
from warmstate.handler import StatefulHandler
from warmstate.warm.commits.journal import Journal
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.tails.batches import hold_back
from warmstate.warm.tails.tail import Tail, tail

ITEMS = 3600
INTERRUPTIONS = 500
BOUND = 25


class Kept(StatefulHandler):
    photos: Tail[int] = tail(max_items=BOUND, survives="reset")
    outside: list

    @photos.flush
    def write(self, batch):
        self.calls.append(len(batch))
        self.outside.extend(batch)


class Loose(StatefulHandler):
    photos: Tail[int] = tail(max_items=BOUND)
    outside: list

    @photos.flush
    def write(self, batch):
        self.calls.append(len(batch))
        self.outside.extend(batch)


class Interrupted:
    """An environment whose process dies, fails or is shut down at random; the source delivers again what was not acknowledged."""

    def __init__(self, kind, directory, seed, *, defer):
        self.kind, self.directory, self.defer = kind, directory, defer
        self.rng = random.Random(seed)
        self.clock = HandClock()
        self.outside, self.calls = [], []
        self.boot()

    def boot(self):
        self.handler = self.kind()
        self.handler.outside, self.handler.calls = self.outside, self.calls
        self.ledger = Ledger(
            self.handler, self.kind.__warmstate__, backend=Journal(str(self.directory)), clock=self.clock
        )
        self.ledger.open()

    def deliver(self, numbers, interruption):
        """One invocation with these items; those that its source has to deliver again."""
        event = {"Records": [{"eventSource": "aws:sqs", "messageId": str(number)} for number in numbers]}
        self.ledger.begin("handle")
        for number in numbers:
            self.handler.photos.append(number, id=str(number))
        if interruption == "fail":
            self.ledger.rollback()
            return list(numbers)
        self.ledger.flush_due()
        if interruption == "die-early":
            self.boot()
            return list(numbers)
        answer = hold_back(event, None, [self.handler.photos]) if self.defer else {"batchItemFailures": []}
        self.ledger.commit()
        if interruption == "die-before-answer":
            self.boot()
            return list(numbers)
        self.ledger.settle()
        back = [int(failure["itemIdentifier"]) for failure in answer["batchItemFailures"]]
        if interruption == "shutdown":
            self.ledger.flush_due(shutdown=True)
            self.boot()
        elif interruption == "die":
            self.boot()
        return back


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", [Kept, Loose])
def test_with_defer_every_item_is_delivered(tmp_path, kind, seed):
    """Deferred items stay with their source until they are flushed: none is lost, whatever dies; first arrivals are in order
    where the tail survives a reset.
    """
    run = Interrupted(kind, tmp_path, seed, defer=True)
    points = set(run.rng.sample(range(ITEMS), INTERRUPTIONS))
    kinds = ["fail", "die-early", "die-before-answer", "die", "shutdown"]
    waiting = []
    for number in range(ITEMS):
        waiting = (
            run.deliver([*waiting, number][:200], run.rng.choice(kinds) if number in points else "") + waiting[199:]
        )
    for _ in range(10):
        if waiting:
            waiting = run.deliver(waiting[:200], "") + waiting[200:]
            run.ledger.flush_due(shutdown=True)

    assert set(range(ITEMS)) == set(run.outside)
    assert [] == waiting
    assert len(run.calls) <= ITEMS / BOUND + INTERRUPTIONS + 10
    if kind is Kept:
        first = list(dict.fromkeys(run.outside))
        assert sorted(first) == first


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_without_defer_a_death_costs_less_than_the_bound(tmp_path, seed):
    """A freeze tail loses at most max_items - 1 answered items per death; one that survives resets loses none."""
    for kind in (Loose, Kept):
        directory = tmp_path / kind.__name__
        directory.mkdir()
        run = Interrupted(kind, directory, seed, defer=False)
        points = set(run.rng.sample(range(ITEMS), INTERRUPTIONS))
        lost = set()
        again = []
        for number in range(ITEMS):
            before = set(range(number)) - set(run.outside) - lost - set(again)
            again = run.deliver(
                [*again, number], run.rng.choice(["fail", "die", "shutdown"]) if number in points else ""
            )
            if not len(run.handler.photos):
                gone = (before | {number}) - set(run.outside) - set(again)
                assert len(gone) <= (BOUND - 1 if kind is Loose else 0)
                lost |= gone
        run.deliver(again, "")
        run.ledger.flush_due(shutdown=True)

        assert set(range(ITEMS)) - lost == set(run.outside)
        assert len(run.calls) <= ITEMS / BOUND + INTERRUPTIONS + 1
