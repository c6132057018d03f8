"""The store against a plain dictionary, through freezes, clock jumps, full disks and faults at any point."""

from __future__ import annotations

import errno
import shutil
import tempfile

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.warm.doubles import FailingFiles, MovedClock
from warmstate.warm.spill.spill import Spill
from warmstate.warm.store.store import StateStore

KEYS = st.sampled_from([f"key-{number}" for number in range(12)])
VALUES = st.one_of(
    st.integers(0, 200_000).map(lambda size: bytes([size % 251]) * size),
    st.integers(0, 600).map(lambda size: [{"n": number} for number in range(size)]),
    st.text(max_size=2_000),
    st.dictionaries(st.text(max_size=4), st.lists(st.integers(), max_size=4), max_size=20),
)
MEMORY = 256 * 1024
TMP = 1024 * 1024


class StoreMachine(RuleBasedStateMachine):
    """
    What the store may do: give the value last written, or nothing. Nothing is allowed only after something that evicts or loses.
    """

    def __init__(self):
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.clock = MovedClock()
        self.files = FailingFiles()
        self.spill = Spill(self.directory, budget=TMP, reserve=0, clock=self.clock, files=self.files)
        self.store = StateStore(memory_budget=MEMORY, spill=self.spill, clock=self.clock)
        self.model = {}
        self.ends = {}
        self.faulty = False

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def missing_is_allowed(self):
        info = self.store.info()
        return self.faulty or info["evicted"] or info["lost"]

    def compare(self, key, found):
        wall, mono = self.ends.get(key, (float("inf"), float("inf")))
        over = self.clock.walls >= wall or self.clock.monos >= mono
        if over or key not in self.model:
            assert found is None
        elif found is None:
            assert self.missing_is_allowed(), f"{key} is missing for no reason"
        else:
            assert found == self.model[key]
            assert type(found) is type(self.model[key])

    @rule(key=KEYS, value=VALUES)
    def put(self, key, value):
        self.store[key] = value
        self.model[key] = value
        self.ends.pop(key, None)
        assert self.store.get(key) == value, "what was just written is there"

    @rule(key=KEYS, value=VALUES, ttl=st.integers(1, 100))
    def put_with_an_end(self, key, value, ttl):
        self.store.set(key, value, ttl=ttl)
        self.model[key] = value
        self.ends[key] = (self.clock.walls + ttl, self.clock.monos + ttl)

    @rule(key=KEYS)
    def get(self, key):
        self.compare(key, self.store.get(key))

    @rule(key=KEYS)
    def look(self, key):
        if key in self.store:
            assert key in self.model

    @rule(key=KEYS)
    def delete(self, key):
        self.compare(key, self.store.pop(key, None))
        self.model.pop(key, None)

    @rule(key=KEYS, value=VALUES)
    def get_or_create(self, key, value):
        found = self.store.get_or_create(key, lambda: value)
        if found is value:
            self.model[key] = value
            self.ends.pop(key, None)
        else:
            self.compare(key, found)

    @rule()
    def iterate(self):
        assert set(self.store) <= set(self.model)
        assert len(self.store) == len(list(self.store))

    @rule()
    def settle(self):
        self.store.settle()

    @rule(seconds=st.integers(0, 120))
    def freeze(self, seconds):
        self.clock.pass_time(seconds)

    @rule(seconds=st.integers(0, 120))
    def freeze_that_only_the_wall_clock_saw(self, seconds):
        self.clock.jump(seconds)

    @rule(full=st.booleans())
    def disk_full(self, full):
        self.files.full = full
        self.faulty = True

    @rule(
        error=st.sampled_from([errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS, errno.EDQUOT]),
        every=st.integers(1, 5),
        names=st.sampled_from([("open",), ("pread",), ("pwritev",), ("fstat",), ("mkdir",), ("statvfs",), ()]),
    )
    def faults_begin(self, error, every, names):
        self.files.error, self.files.fail_every, self.files.names = error, every, names
        self.faulty = True

    @rule()
    def faults_end(self):
        self.files.error = None

    @rule()
    def directory_vanishes(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.faulty = True

    @invariant()
    def within_budgets(self):
        assert self.store.nbytes <= MEMORY
        assert self.spill.nbytes <= TMP * 1.05
        if len(self.store) == 0:
            assert self.store.nbytes == 0


class QuietMachine(StoreMachine):
    """The same without faults: only eviction may lose a value."""

    disk_full = faults_begin = faults_end = directory_vanishes = None


TestStoreWithFaults = StoreMachine.TestCase
TestStoreWithFaults.settings = settings(max_examples=120, stateful_step_count=50)
TestStoreWithoutFaults = QuietMachine.TestCase
TestStoreWithoutFaults.settings = settings(max_examples=80, stateful_step_count=50)
