"""The store as its users see it: a mapping that stays within its budgets and is never wrong."""

from __future__ import annotations

import copy
import datetime
import gc
import sys
import threading
import weakref

import attrs
import pytest

from tests.warm.doubles import Heard, MovedClock
from warmstate.errors import BudgetExceeded, LifecycleError, TenantMismatch
from warmstate.warm.spill.spill import Spill
from warmstate.warm.store.store import StateStore

MB = 1024 * 1024


@pytest.fixture
def clock():
    return MovedClock()


@pytest.fixture
def spill(tmp_path, clock):
    spill = Spill(str(tmp_path), budget=64 * MB, clock=clock)
    yield spill
    spill.close()


@pytest.fixture
def store(spill, clock):
    return StateStore(memory_budget=1 * MB, spill=spill, clock=clock)


def tier_of(store, key):
    return store.info()["keys"][key]["tier"]


class TestMapping:
    def test_behaves_like_a_dict(self, store):
        """Set, get, replace, delete, iterate and count work as on a dict."""
        store["a"] = 1
        store["b"] = [2]
        store["a"] = "one"
        del store["b"]

        assert dict(store) == {"a": "one"}
        assert len(store) == 1
        assert "a" in store
        assert "b" not in store
        assert store.get("b", 7) == 7
        with pytest.raises(KeyError, match="b"):
            store["b"]
        with pytest.raises(KeyError):
            del store["b"]
        assert store.pop("a") == "one"
        assert store.pop("a", None) is None
        assert store.setdefault("c", []) == []
        store.update(x=1, y=2)
        store.clear()
        assert not store

    def test_same_object_while_in_memory(self, store):
        """What stays in memory is the object that was stored."""
        value = {"a": 1}
        store["k"] = value

        assert store["k"] is value

    @pytest.mark.parametrize("key", [1, None, b"k", ("a", "b"), object()])
    def test_keys_are_text(self, store, key):
        """A key that is no str is refused with a sentence that says what to write."""
        with pytest.raises(TypeError, match=r"write store\[str\(key\)\]"):
            store[key] = 1
        assert key not in store


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


class TestExpiry:
    @pytest.mark.parametrize("move", ["pass_time", "jump"])
    def test_either_clock_ends_a_value(self, store, clock, move):
        """A value with a ttl is gone when either clock says so, in memory and in /tmp."""
        store.set("k", b"v", ttl=60)
        store.set("away", bytes(1000), ttl=60)
        for number in range(30):
            store[f"filler{number}"] = bytes(60_000)
        assert tier_of(store, "away") == "tmp"
        getattr(clock, move)(59)
        assert store["k"] == b"v"
        getattr(clock, move)(2)

        assert "k" not in store
        assert store.get("away") is None
        assert "away" not in list(store)

    def test_monotonic_alone_ends_a_value(self, store, clock):
        """A wall clock that stands still does not keep a value."""
        store.set("k", b"v", ttl=60)
        clock.monos += 61

        assert store.get("k") is None

    def test_a_wall_clock_that_runs_backwards_ends_it(self, store, clock):
        """Two hours back make a ttl meaningless, so the value is gone rather than immortal."""
        store.set("k", b"v", ttl=60)
        clock.jump(-7200)

        assert store.get("k") is None

    def test_small_corrections_do_not(self, store, clock):
        """A second back is a correction of the clock."""
        store.set("k", b"v", ttl=60)
        clock.jump(-1)

        assert store["k"] == b"v"

    def test_writing_anew_removes_the_end(self, store, clock):
        """A plain write keeps the value without end."""
        store.set("k", b"v", ttl=60)
        store["k"] = b"w"
        clock.pass_time(100)

        assert store["k"] == b"w"

    def test_expired_values_are_freed_by_settling(self, store, clock):
        """What nobody asks for any more does not take memory."""
        for number in range(100):
            store.set(f"k{number}", bytes(2000), ttl=1)
        clock.pass_time(2)
        store.settle()

        assert store.nbytes < 10_000
        assert store.info()["expired"] == 100


class TestGetOrCreate:
    def test_makes_once(self, store):
        """The factory runs when there is no value, and not again."""
        assert store.get_or_create("k", lambda: [1]) == [1]
        assert store.get_or_create("k", lambda: [2]) == [1]

    def test_one_of_many_threads_makes_it(self, store):
        """Of all who ask at once, one runs the factory and the others get what it made."""
        calls = []
        begin = threading.Barrier(8)

        def make():
            calls.append(1)
            threading.Event().wait(0.05)
            return object()

        found = []

        def ask():
            begin.wait()
            found.append(store.get_or_create("k", make))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(calls) == 1
        assert len(set(map(id, found))) == 1

    def test_a_failing_factory_leaves_nothing(self, store):
        """The factory's own error reaches the caller, and the next one tries anew."""
        with pytest.raises(ZeroDivisionError):
            store.get_or_create("k", lambda: 1 / 0)

        assert store.get_or_create("k", lambda: 3) == 3

    def test_asking_for_itself_is_an_error(self, store):
        """A factory that asks for its own key fails instead of waiting for itself."""
        with pytest.raises(LifecycleError, match="'k' asks for 'k' itself"):
            store.get_or_create("k", lambda: store.get_or_create("k", lambda: 1))
        assert store.get_or_create("k", lambda: 2) == 2

    def test_factories_that_wait_for_each_other_are_an_error(self, store):
        """Two threads whose factories ask for each other's key: one is told, and the other gets its value."""
        both = threading.Barrier(2)
        told = []

        def make(mine, other):
            def factory():
                both.wait(20)
                return store.get_or_create(other, lambda: "made by the other")

            try:
                told.append(store.get_or_create(mine, factory))
            except LifecycleError as error:
                told.append(str(error))

        threads = [threading.Thread(target=make, args=keys, daemon=True) for keys in (("x", "y"), ("y", "x"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

        assert not any(thread.is_alive() for thread in threads)
        assert ["both would wait for ever" in text for text in sorted(told, key=len)] == [False, True]

    @pytest.mark.parametrize("ttl", ["5", float("nan"), True])
    def test_a_ttl_is_seconds(self, store, ttl):
        """What no clock can reach is refused, and the old value is kept."""
        store["k"] = 1
        with pytest.raises(TypeError, match="write seconds, or None"):
            store.set("k", 2, ttl=ttl)
        assert store["k"] == 1
        with pytest.raises(TypeError, match="a key of the store is a str, not int"):
            store.get(1)

    def test_ttl(self, store, clock):
        """A created value ends like any other."""
        store.get_or_create("k", lambda: 1, ttl=10)
        clock.pass_time(11)

        assert store.get_or_create("k", lambda: 2, ttl=10) == 2

    def test_async_factories_are_refused(self, store):
        """An async factory is refused before its coroutine is stored."""

        async def make():
            return 1

        with pytest.raises(LifecycleError, match="await"):
            store.get_or_create("k", make)
        assert "k" not in store


class TestPartitions:
    def test_keys_do_not_meet(self, store):
        """The same name in two partitions and in the store are three keys."""
        a, b = store.partition("a"), store.partition("b")
        store["k"] = 0
        a["k"] = 1
        b.set("k", 2)

        assert (store["k"], a["k"], b["k"]) == (0, 1, 2)
        assert (list(store), list(a), list(b)) == (["k"], ["k"], ["k"])
        a.clear()
        assert (len(store), len(a), len(b)) == (1, 0, 1)
        assert store.partition("b")["k"] == 2
        with pytest.raises(KeyError, match=r"^'x'$"):
            a["x"]
        assert b.pop("k") == 2
        assert b.get_or_create("k", lambda: 5) == 5
        assert store.info()["partitions"] == {"b": {"k": store.info()["partitions"]["b"]["k"]}}

    def test_tenants_do_not_meet(self, store):
        """A tenant sees its own keys only, and finds them again."""
        store.bind_tenant("ann")
        store["k"] = "ann's"
        store.bind_tenant("bob")
        assert "k" not in store
        assert store.get("k") is None
        store["k"] = "bob's"
        store.bind_tenant("ann")

        assert store["k"] == "ann's"
        assert list(store) == ["k"]

    def test_a_kept_partition_of_another_tenant_is_refused(self, store):
        """A partition made for one tenant raises TenantMismatch in another's invocation, whatever is asked."""
        store.bind_tenant("ann")
        kept = store.partition("p")
        kept["k"] = "secret"
        store.bind_tenant("bob")

        for use in (
            lambda: kept["k"],
            lambda: kept.get("k"),
            lambda: "k" in kept,
            lambda: list(kept),
            lambda: len(kept),
            lambda: kept.pop("k"),
            lambda: kept.set("k", 1),
            lambda: kept.get_or_create("k", lambda: 1),
            kept.clear,
        ):
            with pytest.raises(TenantMismatch, match="another tenant"):
                use()
        assert store.partition("p").get("k") is None
        store.bind_tenant("ann")
        assert kept["k"] == "secret"

    def test_budgets_are_common(self, store):
        """What another tenant left counts, and leaves memory first."""
        store.bind_tenant("ann")
        for number in range(14):
            store[f"k{number}"] = bytes(60_000)
        store.bind_tenant("bob")
        for number in range(14):
            store[f"k{number}"] = bytes(60_000)

        assert store.nbytes <= 1 * MB
        assert {row["tier"] for row in store.info()["keys"].values()} == {"memory"}
        store.bind_tenant("ann")
        assert "tmp" in {row["tier"] for row in store.info()["keys"].values()}


class TestThreads:
    def test_reading_goes_on_while_others_are_measured_spilled_and_listed(self, tmp_path):
        """A read needs no lock: it moves its key in the order of use while another thread walks that order."""
        store = StateStore(memory_budget=64 * 1024, spill=Spill(str(tmp_path), budget=16 * MB))
        values = {f"key-{number}": bytes([number]) * 3_000 for number in range(40)}
        store.update(values)
        wrong = []
        switch = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)

        def read(number):
            try:
                for _ in range(3_000):
                    number = (number * 7 + 3) % 40
                    if store[f"key-{number}"] != values[f"key-{number}"]:
                        wrong.append(number)
            except BaseException as error:
                wrong.append(error)

        readers = [threading.Thread(target=read, args=(number,)) for number in range(3)]
        try:
            for reader in readers:
                reader.start()
            while any(reader.is_alive() for reader in readers):
                store.settle()
                assert set(store.info()["keys"]) == set(values)
        finally:
            for reader in readers:
                reader.join()
            sys.setswitchinterval(switch)

        assert wrong == []

    @pytest.mark.parametrize("way", ["spill", "spill and reload", "overwrite", "delete"])
    def test_a_read_is_right_wherever_another_thread_comes_between(self, store, way):
        """At each line of a read that takes no lock, the value leaves for the disk, comes back, is replaced or goes: never a wrong value."""

        def interfere():
            if way == "overwrite":
                store["key"] = b"new" * 1000
            elif way == "delete":
                store.pop("key", None)
            else:
                store.update({f"other{number}": bytes(100_000) for number in range(12)})
                if way == "spill and reload":
                    store.set("again", store["key"])

        for line in range(1, 11):
            store["key"] = b"old" * 1000
            count = 0

            def trace(frame, event, _, line=line):
                nonlocal count
                if frame.f_code.co_name != "__getitem__":
                    return None
                count += event == "line"
                if count == line:
                    count += 1
                    sys.settrace(None)
                    frame.f_trace = None
                    thread = threading.Thread(target=interfere)
                    thread.start()
                    thread.join()
                return trace

            sys.settrace(trace)
            try:
                found = store["key"]
            except KeyError:
                found = None
            finally:
                sys.settrace(None)
            allowed = {"overwrite": (b"old" * 1000, b"new" * 1000), "delete": (b"old" * 1000, None)}
            assert found in allowed.get(way, (b"old" * 1000,)), line
            store.clear()

    def test_reads_and_writes_of_one_key_are_whole(self, tmp_path):
        """Each thread sees its own last write or a later one of another, while values move between the tiers."""
        spill = Spill(str(tmp_path), budget=16 * MB)
        store = StateStore(memory_budget=256 * 1024, spill=spill)
        errors = []
        switch = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)

        def work(me):
            try:
                for number in range(400):
                    mine = f"mine-{me}"
                    value = bytes([me]) * (number * 37 % 20_000)
                    store[mine] = value
                    store[f"shared-{number % 5}"] = (me, "x" * (number * 91 % 9_000))
                    shared = store.get(f"shared-{(number + 1) % 5}")
                    if shared is not None and not (isinstance(shared, tuple) and len(shared) == 2):
                        errors.append(("torn", shared))
                    if store.get(mine) != value:
                        errors.append(("lost", me, number))
                    if number % 50 == me:
                        store.settle()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(me,)) for me in range(6)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(switch)
        used = store.nbytes
        keys = list(store)
        for key in keys:
            del store[key]

        assert errors == []
        assert used <= 256 * 1024
        assert store.nbytes == 0, "the account is exact after any interleaving"
        spill.close()


class TestInfo:
    def test_every_key_is_told(self, store, clock):
        """Each key has tier, bytes, age, hits and whether it is only in memory, as plain values."""
        store["k"] = b"v" * 100
        store["k"]
        store["k"]
        store.set("t", 1, ttl=10)
        info = store.info()

        assert info["keys"]["k"]["hits"] == 2
        assert info["keys"]["k"]["dirty"] is True
        assert info["keys"]["t"]["expires_in"] == 10
        assert info["memory_bytes"] == store.nbytes
        assert info["keys"]["k"]["age"] == 0.0
        clock.pass_time(1)
        store.settle()
        clock.pass_time(60)
        store["t"] = b"new"
        ages = {key: row["age"] for key, row in store.info()["keys"].items()}
        assert ages == {"k": 60.0, "t": 0.0}
        assert info["tmp"]["budget"] == 64 * MB
        assert "v" * 100 not in repr(info)
        assert "2 keys" in repr(store)
