"""Units of work: what they touched commits together or goes back together."""

from __future__ import annotations

import dataclasses

import attrs
import pytest

from tests.warm.conftest import HandClock
from tests.warm.shop import Seen, start
from warmstate.errors import CodecError, LifecycleError
from warmstate.handler import StatefulHandler
from warmstate.warm.slot import State, state
from warmstate.warm.spill.files import Files
from warmstate.warm.tails.tail import Tail, tail


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

        class Meanwhile(Files):
            def pwritev(self, fd, parts, offset):
                twins.left = [[2]]
                return super().pwritev(fd, parts, offset)

        twins, ledger, _ = start(tmp_path, Twins, files=Meanwhile())
        ledger.begin("handle")
        twins.left = [[1]]
        ledger.commit()
        assert [[1]] == start(tmp_path, Twins)[0].left
        assert [[2]] == twins.left
        ledger.begin("handle")
        ledger.commit()
        assert [[2]] == start(tmp_path, Twins)[0].left


class Early(StatefulHandler):
    """Uses what it declares before a ledger runs it."""

    number: State[int] = state(default=0, survives="reset")
    rows: Tail[str] = tail(max_items=9, survives="reset")
    notes: Tail[str] = tail(max_items=9)

    def __init__(self):
        self.number = 5
        self.rows.append("begin", id="begin")
        self.rows.append("again")
        self.notes.append("note", id="note")
        self.kept = (self.rows, self.notes)

    @rows.flush
    @notes.flush
    def write(self, batch):
        return len(batch)


class TestInit:
    def test_the_first_rollback_goes_back_to_what_init_set(self, tmp_path):
        """What `__init__` set and appended holds before the first unit of work does."""
        early, ledger, _ = start(tmp_path, Early)
        ledger.begin("handle")
        early.number = 6
        early.rows.append("rolled back")
        ledger.rollback()
        assert (5, ["begin", "again"], ["note"]) == (early.number, list(early.rows), list(early.notes))

    def test_what_was_committed_comes_before_what_init_appends(self, tmp_path):
        """A slot is as it was committed; a tail has its items, once where they have an id, and loses none in any number of processes."""
        for generation in range(1, 5):
            early, ledger, adoption = start(tmp_path, Early)
            assert adoption.dropped_reason is None
            assert ["begin", *["again"] * generation] == list(early.rows)
            assert early.number == (5 if generation == 1 else 10 * (generation - 1))
            ledger.begin("handle")
            early.number = 10 * generation
            ledger.commit()
        early.rows.flush()
        ledger.close()
        early, _, adoption = start(tmp_path, Early)
        assert (None, ["again"]) == (adoption.dropped_reason, list(early.rows))

    def test_the_buffer_that_init_kept_is_the_tail(self, tmp_path):
        """A helper that `__init__` gave its tails goes on writing to them, and knows their ids."""
        early, _, _ = start(tmp_path, Early)
        for buffer, name in zip(early.kept, ("begin", "note"), strict=True):
            assert not buffer.append("twice", id=name)
            buffer.append("more")
        assert (early.rows, early.notes) == early.kept
