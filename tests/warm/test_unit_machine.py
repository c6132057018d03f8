"""Slots and tails against a model, with failures, deaths and resets."""

from __future__ import annotations

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.warm.conftest import FailingFiles, HandClock
from tests.warm.shop import start
from warmstate.errors import CommitError


class Machine(RuleBasedStateMachine):
    """Slots and tails against plain values, with failing units, failing flushes, failing disks and resets."""

    @initialize()
    def begin(self):
        import tempfile

        self.directory = tempfile.mkdtemp()
        self.clock = HandClock()
        self.committed = {"count": 0, "stock": {}, "orders": []}
        self.flushed = []
        self.requests = 0
        self.boot()

    def boot(self):
        self.files = FailingFiles(errno=28)
        self.shop, self.ledger, _ = start(self.directory, clock=self.clock, files=self.files)
        self.notes = []

    def model(self):
        import copy

        return copy.deepcopy(self.committed)

    @rule(
        steps=st.lists(
            st.one_of(
                st.tuples(st.just("set"), st.integers(0, 5)),
                st.tuples(st.just("change"), st.sampled_from("abc")),
                st.tuples(st.just("del"), st.sampled_from(["count", "stock"])),
                st.tuples(st.just("order"), st.text("xyz", max_size=3)),
                st.tuples(st.just("note"), st.text("xyz", max_size=3)),
            ),
            max_size=6,
        ),
        refuse=st.booleans(),
        end=st.sampled_from(["commit", "commit", "commit", "fail", "full", "die"]),
    )
    def unit(self, steps, refuse, end):
        model = self.model()
        outside = len(self.shop.outside)
        self.shop.refuse = refuse
        self.clock.seconds += 100
        self.ledger.begin("handle")
        for what, value in steps:
            if what == "set":
                self.shop.count = model["count"] = value
            elif what == "change":
                self.shop.stock[value] = self.shop.stock.get(value, 0) + 1
                model["stock"][value] = model["stock"].get(value, 0) + 1
            elif what == "del":
                delattr(self.shop, value)
                model[value] = {"count": 0, "stock": {}}[value]
            elif what == "order":
                self.shop.orders.append(value)
                model["orders"].append(value)
            else:
                self.shop.notes.append(value)
                self.notes.append(value)
        notes_before = len(self.shop.outside_notes)
        if end != "fail":
            self.ledger.flush_due()
            while not refuse and len(model["orders"]) >= 3:
                model["count"] += 3
                model["stock"]["flushes"] = model["stock"].get("flushes", 0) + 1
                model["orders"] = model["orders"][3:]
        assert (model["count"], model["stock"]) == (self.shop.count, self.shop.stock)
        if end == "commit":
            self.ledger.commit("r")
            self.committed = model
            self.notes = self.notes[len(self.shop.outside_notes) - notes_before :]
        elif end == "die":
            self.boot()
        else:
            if end == "full":
                self.files.always = ("pwritev",)
                try:
                    self.ledger.commit("r")
                except CommitError:
                    pass
                else:
                    # Nothing committed had changed, so nothing was written, and what was flushed has left.
                    assert model == self.committed
                    self.notes = self.notes[len(self.shop.outside_notes) - notes_before :]
            self.files.always = ()
            self.ledger.rollback()
        del outside

    @rule()
    def settle(self):
        self.ledger._committing.rewrite(self.ledger._buffers)
        self.ledger.settle()

    @rule()
    def reset(self):
        self.ledger.close()
        self.boot()

    @invariant()
    def agrees(self):
        if not hasattr(self, "shop"):
            return
        assert self.committed["count"] == self.shop.count
        assert self.committed["stock"] == self.shop.stock
        assert self.committed["orders"] == list(self.shop.orders)
        assert self.notes == list(self.shop.notes)
        self.ledger.commit()

    def teardown(self):
        import shutil

        self.ledger.close()
        shutil.rmtree(self.directory)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
