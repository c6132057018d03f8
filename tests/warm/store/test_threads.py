"""The store under threads: one makes a value, reads take no lock, and each key is right at any moment."""

from __future__ import annotations

import itertools
import signal
import sys
import threading

import pytest

from tests.warm.store.conftest import MB, tier_of
from warmstate.errors import LifecycleError
from warmstate.warm.spill.spill import Spill
from warmstate.warm.store.store import StateStore


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

    def test_a_list_that_goes_to_the_disk_and_comes_back_in_the_middle_of_a_read(self, store):
        """The reader gets the list that is in the store afterwards: what it appends to another one would be lost."""
        spills, reloads, reloaded = threading.Event(), threading.Event(), threading.Event()

        def pause(frame, event, _):
            if frame.f_code.co_name == "_encoded" and event == "return" and not spills.is_set():
                spills.set()  # nobody held it, and it is written already
                reloads.wait(20)
            return pause

        def interfere():
            sys.settrace(pause)
            store.update({f"other{number}": bytes(100_000) for number in range(12)})
            sys.settrace(None)
            assert "tmp" == tier_of(store, "key")
            assert [1] == store["key"]
            reloaded.set()

        lines = []

        def trace(frame, event, _):
            if frame.f_code.co_name != "__getitem__":
                return None
            if event == "line":
                lines.append(frame.f_lineno)
                if len(lines) == 3:  # it has the entry, and not yet the value
                    other.start()
                    assert spills.wait(20)
                elif len(lines) == 4:
                    reloads.set()
                    assert reloaded.wait(20)
            return trace

        other = threading.Thread(target=interfere)
        store["key"] = [1]
        sys.settrace(trace)
        try:
            found = store["key"]
        finally:
            sys.settrace(None)
        other.join()
        found.append(2)

        assert [1, 2] == store["key"]

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


USES = {
    "write again": lambda store, number: store.__setitem__("key", b"x" * (number % 3)),
    "write and move out": lambda store, number: store.__setitem__(f"key-{number % 40}", bytes(60_000)),
    "read and bring back": lambda store, number: store.get(f"key-{number % 40}"),
    "take away": lambda store, number: store.pop(f"key-{number % 40}", None),
    "settle": lambda store, _: store.settle(),
}


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it may come within a weak reference's callback
@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="before 3.11 a signal may come within a finally, between any two bytecodes"
)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_signal_handler_that_raises_in_the_middle(store, use, monkeypatch):
    """An alarm that ends what takes too long may come between any two steps of the store: others can use it afterwards."""
    armed = [False]

    def bang(*_):
        if armed[0]:
            raise TimeoutError("bang")

    def use_until_it_raises():
        armed[0] = True
        try:
            for number in itertools.count():
                use(store, number)
        finally:
            armed[0] = False

    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # it may come within the callback of a weak reference
    store.update({f"key-{number}": bytes(60_000) for number in range(40)})
    before = signal.signal(signal.SIGALRM, bang)
    try:
        for number in range(150):
            # Again and again: what happens while a value is written is taken for a value that cannot be written.
            signal.setitimer(signal.ITIMER_REAL, 0.0003 + number * 1e-6, 0.001)
            with pytest.raises(TimeoutError, match="bang"):
                use_until_it_raises()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    other = threading.Thread(target=store.set, args=("other", [1]), daemon=True)
    other.start()
    other.join(20)

    assert not other.is_alive()
    assert [1] == store["other"]
