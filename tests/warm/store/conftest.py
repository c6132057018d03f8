"""A store with room for a megabyte, on a disk with room for sixty-four."""

from __future__ import annotations

import pytest

from tests.warm.doubles import MovedClock
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
