"""
State on disks that fail for a while: full, out of inodes, broken, read-only, gone; or a process without a descriptor to spare.

The store never raises and never gives a wrong value. A commit that cannot be written says so and loses nothing. Both work with
the first operation after the fault ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import shutil
import subprocess

import pytest

from tests.warm.desk import Desk
from tests.warm.doubles import FailingFiles, Heard, MovedClock
from warmstate.errors import CommitError
from warmstate.warm.commits.journal import Journal
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.spill.spill import LARGE, Spill
from warmstate.warm.store.store import StateStore


class Files(FailingFiles):
    """Also fails what commits need beside the spill."""

    def allocate(self, fd, offset, length):
        self._count("allocate")
        super().allocate(fd, offset, length)

    def rename(self, source, target):
        self._count("rename")
        super().rename(source, target)


class Fault:
    """Something that is wrong with the disk in `place` from `begin` to `end`."""

    options = ""
    refuses = True  # a commit at least; else each may find what it needs

    def __init__(self, place):
        self.place = place
        self.files = Files()
        place.mkdir()
        if self.options:
            command = ["mount", "-t", "tmpfs", "-o", self.options, "none", str(place)]
            if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("needs root and the right to mount a tmpfs")
        (place / "ours").mkdir(mode=0o700)

    def begin(self):
        raise NotImplementedError

    def end(self):
        raise NotImplementedError

    def over(self):
        if self.options:
            subprocess.run(["umount", "--lazy", str(self.place)], check=True)


class FullDisk(Fault):
    options = "size=8m"

    def begin(self):
        with contextlib.suppress(OSError), (self.place / "hog").open("wb", buffering=0) as hog:
            while hog.write(bytes(4096)):
                pass

    def end(self):
        (self.place / "hog").unlink()


class NoInodes(Fault):
    options = "size=32m,nr_inodes=48"
    refuses = False

    def begin(self):
        self.made = []
        with contextlib.suppress(OSError):
            while True:
                self.made.append(self.place / f"file{len(self.made)}")
                self.made[-1].touch()

    def end(self):
        for path in self.made:
            path.unlink(missing_ok=True)


class Injected(Fault):
    """Every second call of the file port fails."""

    error = errno.EIO

    def begin(self):
        self.files.error, self.files.fail_every = self.error, 2

    def end(self):
        self.files.error = None


class ReadOnlyPort(Injected):
    error = errno.EROFS

    def begin(self):
        super().begin()
        self.files.names = ("open", "pwritev", "allocate", "rename", "unlink", "mkdir")


class ReadOnlyMount(Fault):
    """What is open stays writable, as the kernel has it; nothing else can be opened, made or renamed."""

    options = "size=32m"

    def begin(self):
        subprocess.run(["mount", "--bind", str(self.place), str(self.place)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(self.place)], check=True)

    def end(self):
        subprocess.run(["umount", "--lazy", str(self.place)], check=True)  # whatever looks into it just then


class Limited(Fault):
    """The kernel refuses something to the whole process: SQLite gets the same as we do."""

    def begin(self):
        self.limits = resource.getrlimit(self.what)
        resource.setrlimit(self.what, (self.least, self.limits[1]))

    def end(self):
        resource.setrlimit(self.what, self.limits)


class NoDescriptors(Limited):
    what, least = resource.RLIMIT_NOFILE, 3


class NoWrites(Limited):
    """Every write to a file fails with EFBIG, which SQLite calls a disk I/O error."""

    what, least = resource.RLIMIT_FSIZE, 0


class Vanished(Fault):
    """Somebody clears the directory."""

    def begin(self):
        shutil.rmtree(self.place)

    def end(self):
        pass


class Process:
    """A process that works on a disk, and what it was promised."""

    def __init__(self, fault, rng):
        self.fault, self.rng = fault, rng
        self.clock = MovedClock()
        self.acknowledged = (0, {}, [])
        self.model = {}
        self.refused = self.failing = 0
        self.boot()

    def boot(self):
        directory = str(self.fault.place / "ours")
        self.spill = Spill(directory, budget=1 << 26, reserve=0, clock=self.clock, files=self.fault.files)
        self.store = StateStore(memory_budget=1 << 19, spill=self.spill, clock=self.clock)
        self.handler, self.heard = Desk(), Heard()
        journal = Journal(directory, files=self.fault.files)
        self.ledger = Ledger(self.handler, Desk.__warmstate__, backend=journal, notices=self.heard, clock=self.clock)
        self.ledger.open()
        self.model.clear()
        self.check()

    def end(self):
        self.store.close()
        self.ledger.close()

    def content(self):
        return self.handler.number, dict(self.handler.text), list(self.handler.lines)

    def commit(self):
        """One unit of work; whether it was committed."""
        try:
            self.ledger.begin("handle")
            self.handler.number += 1
            self.handler.text[f"k{self.rng.randrange(20)}"] = "x" * self.rng.choice([5, 500, 40_000])
            self.handler.lines.append(self.handler.number)
            if self.rng.random() < 0.1:  # most lines wait, each in a commit of its own
                self.ledger.flush_due()
            wanted = self.content()
            self.ledger.commit("r")
        except CommitError as error:  # it cannot be written, or what it needs of the last one cannot be read now
            assert "The last commit stays valid" in str(error)  # noqa: PT017 - most commits are not refused
            self.ledger.rollback()
            self.refused += 1
            return False
        self.acknowledged = wanted
        return True

    def check(self):
        """All that was acknowledged is there."""
        assert self.content() == self.acknowledged
        self.ledger.rollback()

    def use_store(self):
        """One operation of the store."""
        key = f"k{self.rng.randrange(120)}"
        what = self.rng.random()
        if what < 0.5:
            self.model[key] = self.rng.randbytes(self.rng.choice([100, 2_000, 20_000, 150_000]))
            self.store[key] = self.model[key]
            assert self.store[key] == self.model[key]
        elif what < 0.9:
            assert self.store.get(key) in {None, self.model.get(key)}
        else:
            self.store.pop(key, None)
            self.model.pop(key, None)

    def work(self, operations):
        for number in range(operations):
            self.use_store()
            if number % 5 == 0:
                self.commit()
            if number % 40 == 39:
                self.store.settle()
                self.ledger.settle()


@pytest.mark.parametrize("operations", [500, pytest.param(20_000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize(
    "fault", [FullDisk, NoInodes, Injected, ReadOnlyPort, ReadOnlyMount, NoDescriptors, NoWrites, Vanished]
)
def test_what_holds_on_a_bad_disk(tmp_path, fault, operations):
    """Faults come and go; nothing is raised, wrong or lost, and all works again at once."""
    disk = fault(tmp_path / "disk")
    rng = random.Random(int(os.environ.get("WARMSTATE_SEED", "4")))
    process = Process(disk, rng)
    try:
        process.work(50)
        for round in range(operations // 100):
            disk.begin()
            try:
                process.work(60)
            finally:
                disk.end()
            process.clock.pass_time(31)  # the longest pause after faults
            process.check()
            assert process.commit() or process.commit() is (fault is Vanished)
            process.check()
            assert process.spill.put("first", [bytes(LARGE)]) is not None
            assert process.spill.put("first", [bytes(100)]) is not None
            process.work(40)
            if round % 3 == 2:
                assert process.commit()
                process.end()
                process.boot()
                process.ledger.restored("")  # its next commit writes everything anew, into a new file
        assert process.refused or not fault.refuses
    finally:
        process.end()
        disk.over()
