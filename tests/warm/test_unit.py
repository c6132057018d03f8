"""Units of work: slots and tails against a model, with failures, deaths and resets."""

from __future__ import annotations

import dataclasses
import os

import attrs
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.warm.conftest import FailingFiles, HandClock, Heard
from warmstate.errors import CodecError, CommitError, FlushError, LifecycleError
from warmstate.handler import StatefulHandler
from warmstate.warm.commits.journal import Journal
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.slot import State, state
from warmstate.warm.tails.tail import Tail, tail


@dataclasses.dataclass
class Seen:
    names: list[str]
    total: int = 0


class Shop(StatefulHandler):
    count: State[int] = state(default=0, survives="reset")
    seen: State[Seen] = state(factory=lambda: Seen([]), survives="reset")
    stock: State[dict[str, int]] = state(factory=dict, survives="reset")
    scratch: State[list[int]] = state(factory=list)
    orders: Tail[str] = tail(max_items=3, survives="reset")
    notes: Tail[str] = tail(max_items=4)
    refuse = False
    partly = None

    @orders.flush
    def write_orders(self, batch):
        self.count += len(batch)
        self.stock["flushes"] = self.stock.get("flushes", 0) + 1
        if self.refuse:
            raise OSError("no")
        self.outside.extend(batch if self.partly is None else batch[: self.partly])
        return self.partly

    @notes.flush
    def write_notes(self, batch):
        if self.refuse:
            raise OSError("no")
        self.outside_notes.extend(batch)

    def __init__(self):
        self.outside = []
        self.outside_notes = []


def start(directory, kind=Shop, **options):
    handler = kind()
    files = options.pop("files", None)
    backend = Journal(str(directory), files=files) if files is not None else Journal(str(directory))
    ledger = Ledger(handler, kind.__warmstate__, backend=backend, **options)
    return handler, ledger, ledger.open()


class TestUnits:
    def test_a_commit_outlives_the_process_and_a_rollback_does_not(self, tmp_path):
        """Committed values are there after a reset, values of a failed unit nowhere."""
        shop, ledger, _ = start(tmp_path)
        ledger.begin("handle")
        shop.count = 5
        shop.seen.names.append("a")
        ledger.commit("request-1")
        ledger.begin("handle")
        shop.count = 6
        shop.seen.names.append("b")
        held = shop.seen
        ledger.rollback()

        assert (5, ["a"]) == (shop.count, shop.seen.names)
        assert held is not shop.seen
        shop, _, adoption = start(tmp_path)
        assert (5, Seen(["a"]), ("request-1",)) == (shop.count, shop.seen, adoption.last_request_ids)

    def test_reading_writes_nothing(self, tmp_path):
        """A unit that only reads, committed or never committed values, leaves the journal as it is."""
        shop, ledger, _ = start(tmp_path)
        ledger.begin("handle")
        assert ({}, 0) == (shop.stock, shop.count)
        ledger.commit()
        assert 0 == ledger.backend.size
        ledger.begin("handle")
        shop.stock["a"] = 1
        ledger.commit()
        size = ledger.backend.size
        for _ in range(3):
            ledger.begin("handle")
            assert {"a": 1} == shop.stock
            ledger.commit()

        assert size == ledger.backend.size

    def test_values_that_cannot_change_are_not_encoded(self, tmp_path):
        """A slot of an immutable value that was only read is compared by identity."""
        shop, ledger, _ = start(tmp_path)
        ledger.begin("handle")
        shop.count = 10**30
        ledger.commit()
        ledger._committing.cells["count"].codec = None
        ledger.begin("handle")
        assert 10**30 == shop.count
        ledger.commit()

    @pytest.mark.parametrize(
        "decorated",
        [
            attrs.define,
            attrs.define(on_setattr=attrs.setters.NO_OP),
            attrs.define(slots=False),
            attrs.frozen,
            dataclasses.dataclass,
            dataclasses.dataclass(frozen=True),
        ],
        ids=["define", "no hooks", "with __dict__", "frozen", "dataclass", "frozen dataclass"],
    )
    def test_objects_of_every_kind_of_class_are_committed(self, tmp_path, decorated):
        """Whether it may change in place or not: what a unit left in an object is there after a reset."""

        @decorated
        class Page:
            words: list[str]

        class Book(StatefulHandler):
            page: State[Page | None] = state(default=None, survives="reset")

        book, ledger, _ = start(tmp_path, Book)
        for word in "abc":
            ledger.begin("handle")
            if book.page is None:
                book.page = Page([])
            book.page.words.append(word)
            ledger.commit()
        book, _, _ = start(tmp_path, Book)

        assert Page(["a", "b", "c"]) == book.page

    def test_a_value_that_is_slow_to_compare_is_named_once(self, tmp_path, heard):
        """What took over 5 ms to encode and had not changed is told once, with the advice; what changed, or was quick, never is."""

        class Ticking(HandClock):
            """Each look at it takes `step` seconds."""

            step = 0.0

            def monotonic(self):
                self.seconds += self.step
                return self.seconds

        clock = Ticking()
        shop, ledger, _ = start(tmp_path, clock=clock, notices=heard)

        def use(step, change):
            clock.step = step
            ledger.begin("handle")
            if change:
                shop.stock["a"] = shop.stock.get("a", 0) + 1
            assert shop.stock["a"]
            ledger.commit()

        use(0.006, change=True)
        use(0.004, change=False)
        assert [] == heard.said
        for _ in range(3):
            use(0.006, change=False)
        assert 1 == len(set(heard.said))
        assert "Shop.stock was only read" in heard.said[0]
        assert "took 6 ms: a slot of a type that cannot change in place" in heard.said[0]

    def test_deleting_returns_to_the_default_and_is_committed(self, tmp_path):
        """`del` is a change like any other, also twice, also of what was never set."""
        shop, ledger, _ = start(tmp_path)
        ledger.begin("handle")
        shop.count, shop.stock = 3, {"a": 1}
        ledger.commit()
        ledger.begin("handle")
        del shop.count, shop.stock, shop.scratch
        del shop.count
        assert (0, {}) == (shop.count, shop.stock)
        ledger.rollback()
        assert (3, {"a": 1}) == (shop.count, shop.stock)
        ledger.rollback()
        ledger.begin("handle")
        del shop.count
        ledger.commit()

        shop, _, _ = start(tmp_path)
        assert (0, {"a": 1}) == (shop.count, shop.stock)

    def test_a_value_that_cannot_be_written_names_the_slot_and_the_path(self, tmp_path):
        """The message leads to the value; the rollback puts the last commit back."""
        shop, ledger, _ = start(tmp_path)
        ledger.begin("handle")
        shop.seen = Seen(["a", 5])
        with pytest.raises(CodecError, match=r"^\$\.names\[1\]: Shop\.seen cannot be committed"):
            ledger.commit()
        ledger.rollback()
        assert Seen([]) == shop.seen

    def test_before_may_stop_a_commit(self, tmp_path):
        """What `before` raises stops the commit, and the unit can be rolled back."""
        shop, ledger, _ = start(tmp_path)
        ledger.begin("handle")
        shop.count = 9
        with pytest.raises(KeyError):
            ledger.commit(before=lambda: {}["late"])
        ledger.rollback()
        assert 0 == shop.count

    def test_one_unit_at_a_time(self, tmp_path):
        """A second `begin` is a mistake of the caller."""
        _, ledger, _ = start(tmp_path)
        ledger.begin("handle")
        with pytest.raises(LifecycleError, match="handle is open"):
            ledger.begin("flush")

    def test_an_unresolvable_annotation_names_the_slot(self, tmp_path):
        """A committed slot whose type exists only for type checkers is an error of init."""

        class Vague(StatefulHandler):
            memory: State[Nowhere] = state(default=None)  # noqa: F821
            kept: State[Nowhere | None] = state(default=None, survives="reset")  # noqa: F821

        with pytest.raises(CodecError, match=r"Vague\.kept cannot be written.*Nowhere"):
            start(tmp_path, Vague)

    def test_local_classes_work(self, tmp_path):
        """A committed slot may hold a class that is local to a function, though its annotation is text."""

        @dataclasses.dataclass
        class Local:
            inner: Inner | None = None

        @dataclasses.dataclass
        class Inner:
            number: int = 0

        class Keeper(StatefulHandler):
            kept: State[Local] = state(factory=Local, survives="reset")

        keeper, ledger, _ = start(tmp_path, Keeper)
        ledger.begin("handle")
        keeper.kept.inner = Inner(4)
        ledger.commit()
        assert Local(Inner(4)) == start(tmp_path, Keeper)[0].kept


class Twins(StatefulHandler):
    left: State[list[list[int]]] = state(factory=list, survives="reset")
    right: State[list[list[int]]] = state(factory=list, survives="reset")


class TestSharedObjects:
    def test_one_object_in_two_slots_becomes_two(self, tmp_path):
        """A slot owns its tree: what is changed through one slot is not changed in the other, here as after a reset."""
        twins, ledger, _ = start(tmp_path, Twins)
        ledger.begin("handle")
        twins.left = twins.right = [[1]]
        ledger.commit()
        ledger.begin("handle")
        twins.left.append([2])
        ledger.commit()
        assert ([[1], [2]], [[1]]) == (twins.left, twins.right)
        ledger.close()
        twins, _, _ = start(tmp_path, Twins)
        assert ([[1], [2]], [[1]]) == (twins.left, twins.right)

    def test_a_failed_unit_changes_no_slot_through_a_shared_part(self, tmp_path):
        """The unit changed an object that an untouched slot shares; the rollback reaches that slot too."""
        twins, ledger, _ = start(tmp_path, Twins)
        ledger.begin("handle")
        shared = [1]
        twins.left, twins.right = [shared], [shared, [5]]
        ledger.commit()
        ledger.begin("handle")
        twins.left[0].append(2)
        ledger.rollback()
        assert ([[1]], [[1], [5]]) == (twins.left, twins.right)

    def test_what_a_thread_sets_during_the_commit_goes_with_the_next(self, tmp_path):
        """Between encoding and the end of a commit another value is set: it is neither lost nor half committed."""
        twins, ledger, _ = start(tmp_path, Twins)
        ledger.begin("handle")
        twins.left = [[1]]

        def meanwhile():
            twins.left = [[2]]

        ledger.commit(before=meanwhile)
        assert [[1]] == start(tmp_path, Twins)[0].left
        assert [[2]] == twins.left
        ledger.begin("handle")
        ledger.commit()
        assert [[2]] == start(tmp_path, Twins)[0].left


class TestAdoption:
    def _written(self, tmp_path, **options):
        shop, ledger, _ = start(tmp_path, **options)
        ledger.begin("handle")
        shop.count = 7
        shop.orders.append("o", id="1")
        ledger.commit("r")
        ledger.close()

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"identity": "v2", "tenant": "a"}, "other code"),
            ({"identity": "v1", "tenant": "b"}, "another tenant"),
            ({"identity": "v1", "tenant": "a", "environment": "e2"}, "another execution environment"),
        ],
    )
    def test_other_code_and_other_tenants_adopt_nothing(self, tmp_path, options, reason):
        """What other code or another tenant wrote is dropped whole, and the reason is said."""
        self._written(tmp_path, identity="v1", tenant="a")
        heard = Heard()
        shop, _, adoption = start(tmp_path, notices=heard, **options)

        assert (0, 0, False) == (shop.count, len(shop.orders), adoption.adopted)
        assert reason in adoption.dropped_reason
        assert reason in heard.said[0]

    def test_a_dropped_journal_never_comes_back(self, tmp_path):
        """After other code committed, the first code finds a foreign journal."""
        self._written(tmp_path, identity="v1")
        shop, ledger, _ = start(tmp_path, identity="v2")
        ledger.begin("handle")
        shop.count = 1
        ledger.commit()
        ledger.close()
        assert 0 == start(tmp_path, identity="v1")[0].count

    def test_a_changed_type_needs_a_migration_and_gets_it(self, tmp_path):
        """Without `migrate` everything is dropped, with it the old value arrives as plain fields."""

        class Old(StatefulHandler):
            seen: State[Seen] = state(factory=lambda: Seen([]), survives="reset")
            other: State[int] = state(default=0, survives="reset")

        old, ledger, _ = start(tmp_path, Old)
        ledger.begin("handle")
        old.seen, old.other = Seen(["a"], 3), 8
        ledger.commit()
        ledger.close()

        class Changed(StatefulHandler):
            seen: State[dict[str, int]] = state(factory=dict, survives="reset")
            other: State[int] = state(default=0, survives="reset")

        changed, _, adoption = start(tmp_path, Changed)
        assert ({}, 0) == (changed.seen, changed.other)
        assert "raise its schema=" in adoption.dropped_reason

        class Migrated(StatefulHandler):
            seen: State[dict[str, int]] = state(factory=dict, survives="reset", schema=2)
            other: State[int] = state(default=0, survives="reset")

            @seen.migrate(1)
            def from_1(self, old):
                return dict.fromkeys(old["names"], old["total"])

        migrated, ledger, _ = start(tmp_path, Migrated)
        ledger.begin("on_init")
        assert ({"a": 3}, 8) == (migrated.seen, migrated.other)
        ledger.commit()
        ledger.close()
        migrated, _, _ = start(tmp_path, Migrated)
        assert ({"a": 3}, 8) == (migrated.seen, migrated.other)

    def test_request_ids_survive_resets_and_compaction(self, tmp_path):
        """The requests in the state are known to later processes."""
        shop, ledger, _ = start(tmp_path)
        for number in range(100):
            ledger.begin("handle")
            shop.stock = {"a" * 5000: number}
            ledger.commit(f"r{number}")
            ledger.rollback()
            ledger.settle()
        assert ledger.backend.size < 300_000
        ledger.close()
        shop, _, adoption = start(tmp_path)
        assert [f"r{n}" for n in range(36, 100)] == list(adoption.last_request_ids)
        assert {"a" * 5000: 99} == shop.stock

    def test_a_commit_that_failed_leaves_the_last_one(self, tmp_path):
        """ENOSPC fails the unit with a clear error; the next unit works when space is back, also where the directory vanished."""
        files = FailingFiles(errno=28)
        shop, ledger, _ = start(tmp_path / "a", files=files)
        (tmp_path / "a").mkdir()
        ledger.begin("handle")
        shop.stock["a"] = 1
        ledger.commit()
        files.always = ("pwritev",)
        ledger.begin("handle")
        shop.stock["a"] = 2
        with pytest.raises(CommitError, match="disk is full"):
            ledger.commit()
        ledger.rollback()
        files.always = ()
        assert {"a": 1} == shop.stock
        ledger.rollback()
        (tmp_path / "a" / "journal").unlink()
        ledger.begin("handle")
        shop.count = 4
        with pytest.raises(CommitError, match="cleared"):
            ledger.commit()
        ledger.rollback()
        ledger.begin("handle")
        shop.count = 5
        ledger.commit()
        ledger.close()
        shop, _, _ = start(tmp_path / "a")
        assert ({"a": 1}, 5) == (shop.stock, shop.count)

    def test_another_tenant_finds_nothing_at_all(self, tmp_path):
        """Slots, waiting items and known ids of the tenant before are gone, here and after a reset."""
        self._written(tmp_path, tenant="a")
        shop, ledger, adoption = start(tmp_path)
        assert "a" == adoption.tenant
        ledger.bind_tenant("b")
        assert (0, [], []) == (shop.count, list(shop.orders), ledger.committed_request_ids)
        ledger.begin("handle")
        assert shop.orders.append("mine", id="1")
        ledger.commit("r2")
        ledger.close()
        shop, _, adoption = start(tmp_path, tenant="b")
        assert (0, ["mine"], ("r2",)) == (shop.count, list(shop.orders), adoption.last_request_ids)


class TestALostJournal:
    """Somebody shortens or clears the journal of a living process."""

    def _shop(self, tmp_path, **options):
        shop, ledger, _ = start(tmp_path, **options)
        ledger.begin("handle")
        shop.count = 7
        shop.stock["a"] = 1
        shop.orders.extend("ab")
        ledger.commit("r1")
        return shop, ledger

    @pytest.mark.parametrize("harm", ["shorten", "remove", "replace"])
    def test_one_unit_fails_and_everything_is_written_again_from_memory(self, tmp_path, harm):
        """The commit that notices fails; what is still in memory is whole, and the next commit writes all of it."""
        shop, ledger = self._shop(tmp_path)
        path = tmp_path / "journal"
        if harm == "shorten":
            os.truncate(path, 50)
        else:
            path.unlink()
            if harm == "replace":
                path.write_bytes(b"somebody else's")
        ledger.begin("handle")
        shop.count = 8
        with pytest.raises(CommitError, match=r"valid|shortened"):
            ledger.commit("r2")
        ledger.rollback()
        assert (7, {"a": 1}, ["a", "b"]) == (shop.count, shop.stock, list(shop.orders))
        ledger.rollback()
        ledger.begin("handle")
        shop.count = 9
        ledger.commit("r3")
        ledger.close()
        shop, _, adoption = start(tmp_path)
        assert (9, {"a": 1}, ["a", "b"]) == (shop.count, shop.stock, list(shop.orders))
        assert ("r1", "r3") == adoption.last_request_ids

    def test_what_is_in_memory_no_longer_falls_back_to_the_defaults(self, tmp_path, heard):
        """A failed unit had changed the object and the file is cut: that invocation fails, the log says it, the next one works."""
        shop, ledger = self._shop(tmp_path, notices=heard)
        ledger.begin("handle")
        shop.stock = {"b" * 5000: 1}
        ledger.commit("r2")
        os.truncate(tmp_path / "journal", 50)
        ledger.begin("handle")
        shop.stock["a"] = 2
        ledger.rollback()
        ledger.begin("handle")
        with pytest.raises(CommitError, match="shortened"):
            shop.stock["a"]
        ledger.rollback()
        assert "back at their defaults" in heard.said[-1]
        ledger.begin("handle")
        assert (0, {}, ["a", "b"]) == (shop.count, shop.stock, list(shop.orders))
        shop.count = 1
        ledger.commit("r5")
        ledger.close()
        shop, _, _ = start(tmp_path)
        assert (1, {}, ["a", "b"]) == (shop.count, shop.stock, list(shop.orders))


class TestFlushes:
    def test_a_flush_and_its_slots_commit_together(self, tmp_path):
        """Three orders are due: they leave with the count, and a later process holds neither."""
        shop, ledger, _ = start(tmp_path)
        ledger.begin("handle")
        shop.orders.extend("abcd")
        ledger.flush_due()
        assert (["a", "b", "c"], 3, 1) == (shop.outside, shop.count, len(shop.orders))
        ledger.rollback()
        assert (0, 0) == (shop.count, len(shop.orders))

    def test_a_failed_flush_keeps_its_batch_and_only_its_own_changes_go(self, tmp_path, clock, heard):
        """What the handler changed before stays, what the flush changed goes, and the pause passes before the next try."""
        shop, ledger, _ = start(tmp_path, clock=clock, notices=heard)
        shop.refuse = True
        ledger.begin("handle")
        shop.count = 10
        shop.stock["a"] = 1
        shop.orders.extend("abc")
        ledger.flush_due()
        assert (10, {"a": 1}, 3) == (shop.count, shop.stock, len(shop.orders))
        ledger.commit()
        shop.refuse = False
        ledger.begin("handle")
        ledger.flush_due()
        assert [] == shop.outside
        clock.seconds += 1.0
        ledger.flush_due()
        ledger.commit()
        assert ["a", "b", "c"] == shop.outside
        assert "write_orders failed (OSError: no)" in heard.said[0]

    def test_an_explicit_flush_raises_and_a_handler_may_go_on(self, tmp_path):
        """FlushError carries the cause, and what the handler changed before is as it was."""
        shop, ledger, _ = start(tmp_path)
        shop.refuse = True
        ledger.begin("handle")
        stock = shop.stock
        stock["a"] = 1
        shop.orders.append("a")
        with pytest.raises(FlushError) as caught:
            shop.orders.flush()
        assert isinstance(caught.value.__cause__, OSError)
        ledger.commit()
        assert ({"a": 1}, 1) == (shop.stock, len(shop.orders))

    def test_a_partial_flush_leaves_the_rest(self, tmp_path):
        """The items behind the returned count stay, in order."""
        shop, ledger, _ = start(tmp_path)
        shop.partly = 2
        ledger.begin("handle")
        shop.orders.extend("abc")
        ledger.flush_due()
        ledger.commit()
        assert (["a", "b"], ["c"]) == (shop.outside, list(start(tmp_path)[0].orders))

    def test_ids_are_known_after_flush_reset_and_compaction(self, tmp_path):
        """An item that is delivered again is ignored whether it waits or was flushed before the reset."""
        shop, ledger, _ = start(tmp_path)
        ledger.begin("handle")
        for id in "abcd":
            assert shop.orders.append(id, id=id)
        ledger.flush_due()
        ledger.commit()
        ledger._committing.rewrite(ledger._buffers)
        ledger.close()
        shop, _, _ = start(tmp_path)
        assert [False] * 4 == [shop.orders.append(id, id=id) for id in "abcd"]
        assert ["d"] == list(shop.orders)

    @pytest.mark.parametrize(
        ("seconds", "jump", "due"), [(29.9, 0, False), (30, 0, True), (0, 31, True), (0, -100, True)]
    )
    def test_age_counts_by_either_clock(self, tmp_path, clock, seconds, jump, due):
        """A frozen monotonic clock, a jump of the wall clock, or one backwards: old is old."""

        class Old(StatefulHandler):
            lines: Tail[str] = tail(max_age=30)

            @lines.flush
            def write(self, batch):
                self.written = batch

        old, ledger, _ = start(tmp_path, Old, clock=clock)
        old.lines.append("a")
        clock.seconds += seconds
        clock.wall_jump += jump
        ledger.flush_due()
        assert due == hasattr(old, "written")

    def test_bytes_the_deadline_and_the_end_are_triggers(self, tmp_path, clock):
        """A batch stays within max_bytes; a near deadline and shutdown flush what is not due otherwise."""

        class Big(StatefulHandler):
            parts: Tail[bytes] = tail(max_bytes="1 kB")

            @parts.flush
            def write(self, batch):
                self.batches.append(len(batch))

        big, ledger, _ = start(tmp_path, Big, clock=clock)
        big.batches = []
        big.parts.extend([bytes(400)] * 3)
        ledger.flush_due(deadline_left=5)
        assert ([2], 1) == (big.batches, len(big.parts))
        ledger.flush_due(deadline_left=0.1)
        assert [2, 1] == big.batches
        big.parts.append(b"a")
        ledger.flush_due(shutdown=True)
        assert [2, 1, 1] == big.batches

    def test_at_the_end_a_flush_that_does_a_part_is_asked_again_while_it_does_something(self, tmp_path, clock):
        """Otherwise what it left would be lost; what it never does ends the asking."""

        class Slow(StatefulHandler):
            numbers: Tail[int] = tail(max_items=4)

            @numbers.flush
            def write(self, batch):
                self.asked.append(len(batch))
                return min(3, len(batch) - 1)

        slow, ledger, _ = start(tmp_path, Slow, clock=clock)
        slow.asked = []
        slow.numbers.extend(range(8))
        ledger.flush_due()
        assert ([4], 5) == (slow.asked, len(slow.numbers))
        ledger.flush_due(shutdown=True)
        assert ([4, 4, 2, 1], 1) == (slow.asked, len(slow.numbers))


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
