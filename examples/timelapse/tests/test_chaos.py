"""Whatever happens to instances and events, the video has every photo once; each seed is one story of what happened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from examples.timelapse.studio.chaos import play
from examples.timelapse.studio.directory import DirectoryBucket
from warmstate.emulator import Emulator

ROOT = str(Path(__file__).parents[3])
RUNS = 500


@pytest.fixture(scope="module")
def emulator():
    with Emulator(port=0) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def run(emulator, photos, tmp_path_factory):
    """Plays one seed in a bucket of its own."""

    def run(seed: int, **how):
        folder = tmp_path_factory.mktemp(f"seed-{seed}-")
        return play(
            emulator, DirectoryBucket(folder), photos, seed, task_root=ROOT, environment={"BUCKET": str(folder)}, **how
        )

    return run


@pytest.fixture(scope="module")
def undisturbed(run):
    """The video when nothing happens, in chunks of whole GOPs."""
    outcome = run(-1, flush_every=60, calm=True, disturb=False)

    assert outcome.is_right, outcome
    return outcome.digest


@pytest.mark.process
@pytest.mark.parametrize("seed", range(20))
def test_every_photo_once_whatever_happens(run, undisturbed, seed):
    """Kills, ends, resets, zombies, lost and doubled and shuffled events: every photo once, in order, without a gap."""
    check(run(seed), undisturbed)


@pytest.mark.soak
@pytest.mark.process
@pytest.mark.timeout(4 * 3600)
def test_every_photo_once_in_hundreds_of_runs(run, undisturbed):
    """The same for as many seeds as there is patience for; `SEED` and `RUNS` choose others."""
    first = int(os.environ.get("SEED", "1000"))
    for seed in range(first, first + int(os.environ.get("RUNS", RUNS))):
        outcome = run(seed)
        print(outcome, flush=True)
        check(outcome, undisturbed)


def check(outcome, undisturbed: str) -> None:
    assert outcome.is_right, outcome
    assert 0 == outcome.late, outcome
    if outcome.calm:
        assert undisturbed == outcome.digest, outcome
