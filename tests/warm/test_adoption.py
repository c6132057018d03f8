"""What a process committed is the next one's, whole or not at all; and what holds where the journal was taken away."""

from __future__ import annotations

import os

import pytest

from tests.warm.conftest import FailingFiles, Heard
from tests.warm.shop import Seen, Wordless, start
from warmstate.errors import CommitError
from warmstate.handler import StatefulHandler
from warmstate.warm.slot import State, state


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

    def test_a_migration_that_fails_drops_everything_and_says_why(self, tmp_path, heard):
        """Whatever it raises, also what has no words, init goes on with the defaults."""

        class Old(StatefulHandler):
            lines: State[list[str]] = state(factory=lambda: ["a"], survives="reset")

        old, ledger, _ = start(tmp_path, Old)
        ledger.begin("handle")
        old.lines.append("b")
        ledger.commit()
        ledger.close()

        class New(StatefulHandler):
            lines: State[int] = state(default=5, survives="reset", schema=2)

            @lines.migrate(1)
            def lines_from_1(self, old):
                raise Wordless

        new, _, adoption = start(tmp_path, New, notices=heard)

        assert (5, False) == (new.lines, adoption.adopted)
        assert "New.lines: lines_from_1 failed (Wordless: <unprintable Wordless>)" in heard.said[0]

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
