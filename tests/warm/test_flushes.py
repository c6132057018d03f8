"""Flushes within units of work: a batch leaves with the slots that its flush touched, or not at all."""

from __future__ import annotations

import pytest

from tests.warm.shop import Wordless, start
from warmstate.errors import FlushError
from warmstate.handler import StatefulHandler
from warmstate.warm.tails.tail import Tail, tail


class Mute(StatefulHandler):
    lines: Tail[str] = tail(max_items=9)

    @lines.flush
    def write_lines(self, batch):
        raise Wordless


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

    def test_an_error_without_words_of_its_own_is_a_flush_error_too(self, tmp_path):
        """What the cause's `__str__` raises takes nobody's place."""
        shop, ledger, _ = start(tmp_path, Mute)
        ledger.begin("handle")
        shop.lines.append("a")
        with pytest.raises(FlushError, match="write_lines failed, its batch is kept: Wordless: <unprintable Wordless>"):
            shop.lines.flush()
        assert 1 == len(shop.lines)

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
