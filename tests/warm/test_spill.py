"""The spill on disks that are full, broken or gone: refused or lost, never an error, never a wrong byte."""

from __future__ import annotations

import errno
import os
import pathlib
import random
import subprocess
import sys
import threading

import pytest

from tests.warm.doubles import FailingFiles, Heard, MovedClock
from warmstate.warm.spill.spill import LARGE, Spill, SpillLost, SpillUnavailable
from warmstate.warm.store.store import StateStore

MB = 1024 * 1024
SIZES = [0, 1, 100, 5_000, LARGE - 1, LARGE, LARGE + 1, 300_000]


@pytest.fixture
def spill(tmp_path):
    spill = Spill(str(tmp_path), budget=64 * MB)
    yield spill
    spill.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB, which only root can mount."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=60", "none", place], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs root and the right to mount a tmpfs of 8 MB")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


class TestRoundTrip:
    @pytest.mark.parametrize("sealed", [False, True])
    @pytest.mark.parametrize("size", SIZES)
    def test_bytes_come_back(self, spill, size, sealed):
        """What was put comes back, of any size and in any number of buffers, read or mapped, until it is dropped."""
        data = random.Random(size).randbytes(size)
        spilled = spill.put("k", [data[:7], memoryview(data)[7:], b""], sealed=sealed)

        assert spill.get(spilled) == data
        mapped = spill.map(spilled)
        assert mapped == data
        if size:
            mapped[0] ^= 1
            assert spill.get(spilled) == data, "a mapping is private"
        spill.drop(spilled)
        spill.drop(spilled)
        with pytest.raises(SpillLost):
            spill.get(spilled)

    def test_no_name_is_left_on_the_disk(self, spill, tmp_path):
        """Neither small nor large values have a file that anybody can find."""
        spill.put_many([("a", [b"x" * 10]), ("b", [b"x" * MB])])

        assert list(tmp_path.rglob("*")) == []
        assert spill.info()["rows"] == spill.info()["files"] == 1

    def test_budget_bounds_the_disk(self, tmp_path):
        """More than the budget is refused, for rows and files alike, and room comes back with what is dropped."""
        spill = Spill(str(tmp_path), budget=2 * MB)
        large = [spill.put("k", [bytes(300_000)]) for _ in range(10)]
        assert [receipt is None for receipt in large] == [False] * 6 + [True] * 4
        spill.drop_many([receipt for receipt in large if receipt])
        small = [spill.put("k", [os.urandom(10_000)]) for _ in range(300)]
        kept = [receipt for receipt in small if receipt]

        assert 150 < len(kept) < 210
        assert spill.nbytes <= 2 * MB
        spill.drop_many(kept)
        assert spill.put("k", [bytes(1_500_000)]) is not None, (
            "pages of dropped rows are given back when they are needed"
        )
        assert spill.nbytes <= 2 * MB
        spill.close()

    def test_mapped_arrays_outlive_the_drop(self, spill):
        """Memory that was mapped stays readable after its file was dropped."""
        spilled = spill.put("k", [b"m" * MB])
        view = spill.map(spilled)
        spill.drop(spilled)

        assert bytes(view) == b"m" * MB


class TestFaults:
    @pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS, errno.EACCES])
    def test_fail_the_nth_call(self, tmp_path, error):
        """Whichever call fails, nothing is raised, nothing wrong is read, and the next clean run works."""
        number = 0
        while True:
            number += 1
            files = FailingFiles(error, fail_at=number)
            spill = Spill(str(tmp_path), budget=64 * MB, files=files)
            values = {f"k{size}": bytes([size % 256]) * size for size in SIZES}
            receipts = {key: spill.put(key, [value]) for key, value in values.items()}
            for key, receipt in receipts.items():
                if receipt is not None:
                    try:
                        assert spill.get(receipt) == values[key]
                    except (SpillLost, SpillUnavailable):
                        pass
                    spill.drop(receipt)
            spill.settle()
            calls = files.calls
            spill.close()
            assert list(tmp_path.rglob("*")) == []
            if calls < number:
                break

        assert number > 20

    def test_unreadable_now_is_not_lost(self, tmp_path):
        """A read that fails once says so, and the next one gives the bytes."""
        files = FailingFiles()
        spill = Spill(str(tmp_path), budget=64 * MB, files=files)
        receipts = [spill.put("k", [b"x" * size]) for size in (100, LARGE)]
        for receipt in receipts:
            files.error, files.fail_at, files.names = errno.EIO, files.calls + 1, ("pread",)
            if receipt.fd is not None:
                with pytest.raises(SpillUnavailable):
                    spill.get(receipt)
            files.error = None
            assert spill.get(receipt) == b"x" * receipt.nbytes

    def test_a_failing_disk_is_left_alone_for_a_while(self, tmp_path):
        """After three faults in a row nothing is tried until the pause is over, by whichever clock; then it works again."""
        clock, heard = MovedClock(), Heard()
        files = FailingFiles(errno.EIO, fail_every=1, names=("open",))
        spill = Spill(str(tmp_path), budget=64 * MB, clock=clock, files=files, notices=heard)
        for _ in range(10):
            assert spill.put("k", [bytes(LARGE)]) is None
        assert files.calls == 3
        files.error = None
        assert spill.put("k", [bytes(LARGE)]) is None
        clock.jump(31)

        assert spill.put("k", [bytes(LARGE)]) is not None
        assert any("stay in memory" in message for _, message in heard.lines)

    def test_vanished_directory_is_made_anew(self, tmp_path):
        """The directory may be removed at any moment; what was written is still there, and writing goes on."""
        place = tmp_path / "mine"
        place.mkdir()
        spill = Spill(str(place), budget=64 * MB)
        before = [spill.put("k", [b"b" * size]) for size in (100, LARGE)]
        place.rmdir()
        after = [spill.put("k", [b"a" * size]) for size in (100, LARGE)]

        assert [spill.get(receipt)[:1] for receipt in before + after] == [b"b", b"b", b"a", b"a"]

    def test_without_o_tmpfile(self, tmp_path):
        """Where the file system knows no nameless files, one is made and unlinked at once."""

        class Old(FailingFiles):
            def open(self, path, flags, mode=0o600):
                if flags & os.O_TMPFILE == os.O_TMPFILE:
                    raise OSError(errno.EOPNOTSUPP, "not here")
                return super().open(path, flags, mode)

        spill = Spill(str(tmp_path), budget=64 * MB, files=Old())
        receipt = spill.put("k", [b"x" * LARGE])

        assert spill.get(receipt) == b"x" * LARGE
        assert list(tmp_path.iterdir()) == []

    def test_descriptors_closed_by_others(self, tmp_path):
        """When user code closes our descriptors and gets their numbers, its files are neither read, written nor closed."""
        script = f"""
import os
import pathlib
from warmstate.warm.spill.spill import Spill, SpillLost
spill = Spill({str(tmp_path)!r}, budget=1 << 26)
receipts = [spill.put("k", [b"s" * size]) for size in (100, 200_000)]
os.closerange(3, 100)
victims = [open({str(tmp_path)!r} + f"/victim{{n}}", "w+b", buffering=0) for n in range(20)]
for victim in victims:
    victim.write(b"v" * 300_000)
for receipt in receipts:
    try:
        raise SystemExit(f"read {{spill.get(receipt)[:9]}}")
    except SpillLost:
        pass
    spill.drop(receipt)
for _ in range(3):
    fresh = [spill.put("k", [b"f" * size]) for size in (100, 200_000)]
assert spill.get(fresh[0]) == b"f" * 100 and spill.get(fresh[1]) == b"f" * 200_000
spill.close()
for victim in victims:
    victim.seek(0)
    assert victim.read() == b"v" * 300_000
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (0, "")

    def test_a_fork_gets_no_spill(self, spill):
        """The child of a fork neither writes nor reads through what it inherited, and the parent goes on."""
        receipt = spill.put("k", [b"x" * 100])
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                refused = spill.put("k", [b"y"]) is None
                try:
                    spill.get(receipt)
                except SpillUnavailable:
                    os.write(writing, b"ok" if refused else b"put")
                spill.drop(receipt)
                spill.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)

        assert os.read(reading, 10) == b"ok"
        assert spill.get(receipt) == b"x" * 100
        os.close(reading)
        os.close(writing)

    def test_threads_leave_no_descriptors(self, spill):
        """A thousand threads that spill and end leave no descriptor behind."""
        spill.put("k", [b"x"])
        before = len(list(pathlib.Path("/proc/self/fd").iterdir()))
        for _ in range(50):
            threads = [threading.Thread(target=lambda: spill.get(spill.put("k", [b"x" * 100]))) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert len(list(pathlib.Path("/proc/self/fd").iterdir())) <= before


class TestFullDisk:
    def operate(self, store, spill, operations, between):
        """Mixed operations against a model: how many were wrong, and how many values were missing."""
        rng = random.Random(1)
        model = {}
        missing = 0
        for number in range(operations):
            between(number)
            key = f"k{rng.randrange(200)}"
            if rng.random() < 0.5:
                model[key] = rng.randbytes(rng.choice([100, 2_000, 20_000, 150_000]))
                store[key] = model[key]
                assert store[key] == model[key]
            elif rng.random() < 0.9:
                found = store.get(key)
                assert found is None or found == model[key]
                missing += found is None and key in model
            else:
                store.pop(key, None)
                model.pop(key, None)
            if number % 100 == 99:
                store.settle()
        return missing

    def test_a_small_disk_filled_and_freed(self, small_disk):
        """20,000 operations while somebody else fills 8 MB again and again: no error, no wrong value, usable at once after."""
        spill = Spill(str(small_disk), budget=64 * MB, reserve=0)
        store = StateStore(memory_budget=1 * MB, spill=spill)
        hog = small_disk / "hog"

        def between(number):
            if number % 800 == 400:
                try:
                    with hog.open("wb", buffering=0) as file:
                        while file.write(bytes(4096)):
                            pass
                except OSError:
                    pass
            elif number % 800 == 0 and hog.exists():
                os.truncate(hog, 0)
                hog.unlink()
                assert spill.put("first", [bytes(1000)]) is not None, (
                    "usable on the first operation after space returns"
                )

        self.operate(store, spill, 20_000, between)

        assert spill.counts["full"] > 0
        assert spill.counts["rebuilt"] == 0
        store.close()

    def test_no_inodes(self, small_disk):
        """A disk without inodes refuses, and works as soon as there is one."""
        spill = Spill(str(small_disk), budget=64 * MB, reserve=0)
        names = []
        try:
            while True:
                path = small_disk / f"file{len(names)}"
                path.touch()
                names.append(path)
        except OSError:
            pass
        assert spill.put("k", [bytes(LARGE)]) is None
        assert spill.put("k", [bytes(100)]) is None
        for path in names:
            path.unlink()

        assert spill.put("k", [bytes(LARGE)]) is not None
        assert spill.put("k", [bytes(100)]) is not None
        spill.close()

    def test_injected(self, tmp_path):
        """The same without a real disk: statvfs says full, or every write fails with ENOSPC."""
        files = FailingFiles()
        spill = Spill(str(tmp_path), budget=64 * MB, files=files)
        store = StateStore(memory_budget=1 * MB, spill=spill)

        def between(number):
            files.full = number % 200 > 100
            files.error = errno.ENOSPC if number % 300 > 150 else None
            files.fail_every = 2
            files.names = ("pwritev", "open", "mkdir")

        self.operate(store, spill, 3_000, between)
        files.full, files.error = False, None

        assert spill.put("k", [bytes(LARGE)]) is not None
        store.close()

    def test_the_users_reserve_is_left(self, tmp_path):
        """Nothing is written into the part of the file system that is the user's."""
        free = os.statvfs(tmp_path)
        spill = Spill(str(tmp_path), budget=64 * MB, reserve=free.f_blocks * free.f_frsize)

        assert spill.put("k", [b"x"]) is None

    def test_a_read_only_disk(self, small_disk):
        """A disk that became read-only refuses writes and gives back what it has."""
        spill = Spill(str(small_disk), budget=64 * MB, reserve=0)
        if subprocess.run(["mount", "-o", "remount,ro", small_disk], capture_output=True, check=False).returncode:
            pytest.skip("cannot remount read-only here")
        try:
            assert spill.put("k", [bytes(LARGE)]) is None
            assert spill.put("k", [bytes(100)]) is None
        finally:
            subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        assert spill.put("k", [bytes(LARGE)]) is not None
        spill.close()
