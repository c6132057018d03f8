"""The spill among rows, files and databases that were damaged or planted: read as lost, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
import random
import sqlite3
import subprocess
import sys
import time

import diskcache
import pytest

from tests.warm.doubles import FailingFiles
from warmstate.warm.spill.nameless import NamelessFiles
from warmstate.warm.spill.rows import Rows, SealedDisk
from warmstate.warm.spill.spill import LARGE, Spill, SpillLost

MB = 1024 * 1024


@pytest.fixture
def spill(tmp_path):
    spill = Spill(str(tmp_path), budget=64 * MB)
    yield spill
    spill.close()


class Exploit:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (self.proof,)


class TestHostileBytes:
    def test_ten_thousand_damaged_entries(self, spill, tmp_path):
        """Flipped, cut, swapped and planted rows and files, 10,000 in all: each is read as lost, the others as they were."""
        rng = random.Random(7)
        rows_of = {}
        receipts = [spill.put("k", [rng.randbytes(rng.randrange(1, 2_000))]) for _ in range(2_000)]
        originals = [spill.get(receipt) for receipt in receipts]
        rows: Rows = spill._rows
        sql = rows._cache._sql
        damaged = 0
        for _ in range(5):
            for receipt, original in zip(receipts, originals, strict=True):
                name = f"{receipt.serial:x}"
                ((frame,),) = sql("SELECT value FROM Cache WHERE key = ?", (name,)).fetchall()
                kind = rng.randrange(6)
                if kind == 0:
                    at = rng.randrange(len(frame))
                    bad = frame[:at] + bytes([frame[at] ^ (1 << rng.randrange(8))]) + frame[at + 1 :]
                elif kind == 1:
                    bad = frame[: rng.randrange(len(frame))]
                elif kind == 2:
                    bad = frame + rng.randbytes(rng.randrange(1, 20))
                elif kind == 3:
                    bad = rows_of.get(receipt.serial - 1, b"")
                elif kind == 4:
                    bad = pickle.dumps(Exploit(str(tmp_path / "executed")))
                else:
                    bad = rng.randbytes(len(frame))
                rows_of[receipt.serial] = frame
                sql("UPDATE Cache SET value = ? WHERE key = ?", (bad, name))
                with pytest.raises(SpillLost):
                    spill.get(receipt)
                sql("UPDATE Cache SET value = ? WHERE key = ?", (frame, name))
                assert spill.get(receipt) == original
                damaged += 1

        assert damaged == 10_000
        assert not (tmp_path / "executed").exists()

    @pytest.mark.parametrize("sealed", [False, True])
    def test_large_files(self, spill, sealed):
        """A large file that was cut, extended or changed in any bit is lost."""
        rng = random.Random(8)
        for damage in ("cut", "empty", "trailer", "body"):
            data = rng.randbytes(100_000)
            receipt = spill.put("k", [data], sealed=sealed)
            if damage == "cut":
                os.ftruncate(receipt.fd, 50_000)
            elif damage == "empty":
                os.ftruncate(receipt.fd, 0)
            elif damage == "trailer":
                os.pwrite(receipt.fd, b"x", 100_010)
            else:
                time.sleep(0.02)  # where a kernel's time of change moves in ticks, a seal is what tells
                os.pwrite(receipt.fd, bytes([data[5] ^ 1]), 5)
            with pytest.raises(SpillLost):
                spill.get(receipt)

    def plant(self, spill, **columns):
        """A receipt whose row was replaced by a hostile one."""
        receipt = spill.put("k", [b"x" * 50])
        sets = ", ".join(f"{column} = ?" for column in columns)
        spill._rows._cache._sql(f"UPDATE Cache SET {sets} WHERE key = ?", (*columns.values(), f"{receipt.serial:x}"))
        return receipt

    def test_a_row_that_says_pickle_is_not_unpickled(self, spill, tmp_path):
        """CVE-2025-69872: a planted row of pickle mode executes nothing."""
        payload = pickle.dumps(Exploit(str(tmp_path / "executed")))
        receipt = self.plant(spill, mode=4, value=payload)
        with pytest.raises(SpillLost):
            spill.get(receipt)

        assert not (tmp_path / "executed").exists()

    def test_a_pickled_key_is_not_unpickled(self, spill, tmp_path):
        """A planted key that is a pickle executes nothing, also when keys are walked through."""
        spill.put("k", [b"x"])
        cache = spill._rows._cache
        key = sqlite3.Binary(pickle.dumps(Exploit(str(tmp_path / "executed"))))
        cache._sql("INSERT INTO Cache(key, raw, mode, value) VALUES (?, 0, 1, x'00')", (key,))
        with pytest.raises(SpillLost):
            list(cache)

        assert not (tmp_path / "executed").exists()

    def test_a_row_that_names_a_file_reads_and_removes_nothing(self, spill, tmp_path):
        """A planted file name is neither read nor removed, nor are the directories above it."""
        victim = tmp_path / "empty" / "victim.txt"
        victim.parent.mkdir()
        victim.write_text("secret")
        spill.put("first", [b"x"])
        for mode in (1, 2, 3, 4):
            receipt = self.plant(
                spill, mode=mode, filename=os.path.relpath(victim, spill._rows._cache._directory), value=None
            )
            with pytest.raises(SpillLost):
                spill.get(receipt)
            spill.drop(receipt)
            spill._rows._cache.clear()

        assert victim.read_text() == "secret"

    def test_a_planted_trigger_costs_a_miss_at_most(self, spill):
        """A trigger that swallows rows makes them lost, not wrong."""
        spill.put("k", [b"x"])
        spill._rows._cache._sql(
            "CREATE TRIGGER evil AFTER INSERT ON Cache BEGIN DELETE FROM Cache WHERE rowid = NEW.rowid; END"
        )
        receipt = spill.put("k", [b"y"])

        with pytest.raises(SpillLost):
            spill.get(receipt)

    def test_foreign_databases_are_never_opened(self, tmp_path):
        """Databases, settings and links that lie in the directory from the start stay as they are, and nothing of them is used."""
        (tmp_path / "outside").mkdir()
        victim = tmp_path / "outside" / "victim"
        victim.write_text("v")
        place = tmp_path / "mine"
        place.mkdir()
        evil = diskcache.Cache(str(place))
        evil["k"] = Exploit(str(tmp_path / "executed"))
        evil.reset("size_limit", 1)
        evil.close()
        (place / "spill-0123456789abcdef").symlink_to(tmp_path / "outside")
        before = {path: path.stat().st_size for path in place.rglob("*") if path.is_file()}
        spill = Spill(str(place), budget=64 * MB)
        receipts = [spill.put("k", [b"x" * size]) for size in (100, LARGE)]

        assert [spill.get(receipt)[:1] for receipt in receipts] == [b"x", b"x"]
        spill.close()
        assert {path: path.stat().st_size for path in place.rglob("*") if path.is_file()} == before
        assert victim.read_text() == "v"
        assert not (tmp_path / "executed").exists()

    def test_only_framed_bytes_are_written(self, tmp_path):
        """Our Disk takes no pickle, no text, no file, and no key but text."""
        disk = SealedDisk(str(tmp_path))
        for value in (object(), "text", 1, b"unframed", None):
            with pytest.raises(TypeError):
                disk.store(value, False)
        for key in (1, b"k", ("a",), None, 1.5):
            with pytest.raises(TypeError):
                disk.put(key)
        with pytest.raises(TypeError):
            disk.filename()
        disk.remove("../../etc/passwd")

    def test_diskcache_has_one_home(self):
        """`diskcache.Cache` is made in one module, which nothing loads before the first spill."""
        code = "import sys, warmstate.warm.store.store, warmstate.warm.spill.spill; print('diskcache' in sys.modules, 'sqlite3' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert done.stdout.split() == ["False", "False"]

    def test_values_survive_being_nameless(self, tmp_path):
        """Each object tells what it holds."""
        spill = Spill(str(tmp_path), budget=MB)
        receipt = spill.put("k", [b"x" * LARGE])
        names = NamelessFiles(str(tmp_path), FailingFiles())

        assert "file" in repr(receipt)
        assert "<Spill" in repr(spill)
        assert names.count == 0
        spill.close()
