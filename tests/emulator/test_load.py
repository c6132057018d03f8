"""Fifty callers over eight environments: nothing lost, nothing doubled, nothing crossed."""

import json
import subprocess
import sys

import pytest

from tests.emulator.conftest import CLIENTS

pytestmark = pytest.mark.process


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("each", [40, pytest.param(2_000, marks=pytest.mark.soak)])
def test_every_invocation_is_answered_once(emulator, make, each):
    """Each of 50 callers gets its own answers; the processes together ran as many invocations as were answered."""
    make(max_instances=8)
    begun = emulator.events.last_id
    command = [sys.executable, str(CLIENTS / "callers.py"), emulator.url.rpartition(":")[2], "50", str(each)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    outcome = json.loads(done.stdout)

    assert outcome["answered"] == 50 * each
    assert (outcome["failed"], outcome["crossed"]) == (0, 0)
    instances = emulator.ps("plain")
    assert len(instances) == 8
    ran = [emulator.invoke("plain", {}, instance=instance.instance).json()["count"] - 1 for instance in instances]
    assert sum(ran) == 50 * each
    assert emulator.events.last_id - begun >= 3 * 50 * each
