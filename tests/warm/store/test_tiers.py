"""Two tiers within their budgets: what leaves memory first, what comes back, what stays."""

from __future__ import annotations

import copy
import datetime
import gc
import weakref

import attrs
import pytest

from tests.warm.doubles import Heard
from tests.warm.store.conftest import MB, tier_of
from warmstate.errors import BudgetExceeded
from warmstate.warm.spill.spill import Spill
from warmstate.warm.store.store import StateStore


class TestTiers:
    def test_least_recently_used_spills_first(self, store):
        """Over the memory budget the values that were not used for longest go to /tmp, and come back equal."""
        for number in range(20):
            store[f"k{number}"] = bytes([number]) * 60_000
            assert store["k0"] == bytes(60_000)

        assert tier_of(store, "k0") == "memory"
        assert tier_of(store, "k1") == "tmp"
        assert tier_of(store, "k19") == "memory"
        assert all(store[f"k{number}"] == bytes([number]) * 60_000 for number in range(20))

    def test_writing_over_a_key_is_a_use(self, store):
        """A key that is written again and again, in the same size and in others, stays in memory as one that is read does."""
        for number in range(40):
            store[f"k{number}"] = bytes([number]) * 60_000
            store["k0"] = bytes([number]) * 60_000
            store["k1"] = bytes(60_000 + number % 3)

        assert [tier_of(store, key) for key in ("k0", "k1", "k2")] == ["memory", "memory", "tmp"]
        assert store["k0"] == bytes([39]) * 60_000

    @pytest.mark.parametrize("value", [b"hot", ["hot"]])
    def test_what_each_invocation_reads_stays(self, store, value):
        """However little each invocation adds, and however often it settles: what it reads is not what was used longest ago."""
        store["hot"] = value
        del value
        for number in range(300):
            assert store["hot"] in (b"hot", ["hot"])
            store[f"k{number}"] = bytes(9_000)
            store.settle()
            assert tier_of(store, "hot") == "memory", number

        assert store.info()["reloaded"] == 0
        assert tier_of(store, "k0") == "tmp"

    def test_keys_that_grow_in_place_are_counted_and_spilled(self, store):
        """What is written over small values counts with the bytes it has now."""
        for size in (10, 100_000):
            for number in range(40):
                store[f"k{number}"] = bytes([number]) * size
                assert store.nbytes <= 1 * MB

        assert store.nbytes > 0.8 * MB
        assert all(store[f"k{number}"] == bytes([number]) * 100_000 for number in range(40))

    def test_settling_makes_room(self, store):
        """Settling leaves room below the budget, so that the next write does not wait for the disk."""
        for number in range(17):
            store[f"k{number}"] = bytes(60_000)
        store.settle()

        assert store.nbytes <= 0.9 * MB

    @pytest.mark.parametrize(
        "value",
        [
            b"bytes" * 100,
            bytearray(b"changing" * 100),
            "text with \ud800 a lone surrogate and ü" * 20,
            {"a": [1, 2.5, None, True], "b": ("x", b"y"), "c": {1, 2}, "d": {"deep": [[], {}]}, 3: frozenset({4})},
            [{"id": number} for number in range(500)],
            12345678901234567890,
            1 + 2j,
        ],
    )
    def test_values_come_back_equal_and_of_their_type(self, store, value):
        """A spilled value comes back equal and of the type it had."""
        kind = type(value)
        store["k"] = copy.deepcopy(value)
        for number in range(30):
            store[f"filler{number}"] = bytes(60_000)

        assert tier_of(store, "k") == "tmp"
        assert store["k"] == value
        assert type(store["k"]) is kind

    def test_records_and_dates_come_back(self, store):
        """Values of attrs classes, dates and decimals are written through their codec."""

        @attrs.define
        class Session:
            user: str
            seen: datetime.datetime

        seen = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
        store["k"] = Session("ann", seen)
        store["d"] = {"at": seen, "all": [seen]}
        for number in range(30):
            store[f"filler{number}"] = bytes(60_000)

        assert tier_of(store, "k") == "tmp"
        assert store["k"] == Session("ann", seen)
        assert store["d"] == {"at": seen, "all": [seen]}

    def test_arrays_come_back_and_can_be_written(self, store):
        """An array comes back with its shape, type and order, in memory of its own."""
        numpy = pytest.importorskip("numpy")
        expected = numpy.arange(40_000, dtype=">u2").reshape(200, 200).T
        store["k"] = numpy.arange(40_000, dtype=">u2").reshape(200, 200).T
        store["small"] = numpy.zeros((0, 3))
        store["strided"] = numpy.arange(20_000)[::-2]
        for number in range(30):
            store[f"filler{number}"] = bytes(60_000)
        assert tier_of(store, "k") == "tmp"
        array = store["k"]

        assert numpy.array_equal(array, expected)
        assert array.dtype == expected.dtype
        array[0, 0] = 7
        assert store["k"][0, 0] == 7
        assert store["small"].shape == (0, 3)
        assert tier_of(store, "strided") == "tmp"
        assert numpy.array_equal(store["strided"], numpy.arange(20_000)[::-2])

    def test_containers_of_buffers_are_not_taken_for_bytes(self, store):
        """What marshal would silently turn into bytes comes back as it was, or stays in memory."""
        import array

        values = {"a": [array.array("i", [1, 2])], "b": [bytearray(b"x")], "c": (memoryview(b"m"),)}
        for key in list(values):
            store[key] = values.pop(key)
        for number in range(30):
            store[f"filler{number}"] = bytes(60_000)

        assert type(store["a"][0]) is array.array
        assert store["a"][0].tolist() == [1, 2]
        assert type(store["b"][0]) is bytearray
        assert type(store["c"][0]) is memoryview

    def test_what_cannot_be_written_stays(self, store):
        """A value without a codec stays in memory and is counted, while others spill."""

        class Opaque:
            pass

        store["opaque"] = [Opaque()]
        for number in range(30):
            store[f"filler{number}"] = bytes(60_000)

        assert tier_of(store, "opaque") == "memory"
        assert store.info()["unwritable"] == 1

    def test_a_value_in_use_is_not_spilled(self, store):
        """A value that the handler still holds stays, so what it changes through it is not lost."""
        held = {"count": 0}
        store["held"] = held
        for number in range(30):
            store[f"filler{number}"] = bytes(60_000)
        held["count"] = 1

        assert store["held"] == {"count": 1}

    def test_pinned_values_stay(self, store):
        """A pinned value is neither spilled nor evicted; unpinned it spills again."""
        store.set("pinned", b"p" * 1000, pin=True)
        for number in range(30):
            store[f"filler{number}"] = bytes(60_000)
        assert tier_of(store, "pinned") == "memory"
        store.unpin("pinned")
        for number in range(30):
            store[f"more{number}"] = bytes(60_000)

        assert tier_of(store, "pinned") == "tmp"
        store.pin("pinned")
        assert tier_of(store, "pinned") == "memory"
        with pytest.raises(KeyError):
            store.pin("nothing")

    def test_too_large_is_refused_and_the_old_value_kept(self, store):
        """A value that can never fit is refused with both sizes, and the old one stays."""
        store["k"] = b"old"
        with pytest.raises(BudgetExceeded, match="'k' takes about 2000"):
            store["k"] = bytes(2_000_000)

        assert store["k"] == b"old"

    def test_pinned_bytes_count_against_new_values(self, store):
        """What is pinned leaves that much less for one value."""
        store.set("pinned", bytes(700_000), pin=True)
        with pytest.raises(BudgetExceeded, match="are pinned"):
            store["k"] = bytes(500_000)
        store.set("pinned", bytes(710_000), pin=True)

    def test_without_a_disk_the_oldest_are_evicted(self, clock):
        """With memory alone the least recently used values go, never the one just written, and it is said once."""
        heard = Heard()
        store = StateStore(memory_budget=1 * MB, clock=clock, notices=heard)
        for number in range(100):
            store[f"k{number}"] = bytes(60_000)
            assert f"k{number}" in store
            assert store.nbytes <= 1 * MB

        assert "k0" not in store
        assert store.info()["evicted"] > 50
        assert len([line for line in heard.lines if line[0] == "store-evicted"]) >= 1

    def test_tmp_budget_evicts_what_was_spilled_longest_ago(self, tmp_path, clock):
        """With both budgets full the values spilled longest ago go; the newest are all there."""
        spill = Spill(str(tmp_path), budget=4 * MB, clock=clock)
        store = StateStore(memory_budget=1 * MB, spill=spill, clock=clock)
        for number in range(300):
            store[f"k{number}"] = bytes([number % 256]) * 40_000
            assert spill.nbytes <= 4 * MB

        assert "k0" not in store
        assert all(store[f"k{number}"] == bytes([number % 256]) * 40_000 for number in range(240, 300))
        spill.close()

    def test_growth_in_place_is_measured_by_settling(self, store):
        """A value that grew in place counts as what it is after the next settle."""
        value = store.setdefault("k", [])
        before = store.nbytes
        value.extend(str(number) * 10 for number in range(5000))
        store.settle()

        assert store.nbytes > before + 200_000

    def test_replaced_values_are_freed_and_may_use_the_store(self, store):
        """The old value is given up at once, and its __del__ may use the store."""
        seen = []

        class Last:
            def __del__(self):
                seen.append(store.get("other"))

        store["other"] = b"here"
        store["k"] = Last()
        store["k"] = Last()
        store["k"] = b"bytes"
        gc.collect()

        assert seen == [b"here", b"here"]
        value = Last()
        alive = weakref.ref(value)
        store["k"] = value
        del value, store["k"]
        assert alive() is None
