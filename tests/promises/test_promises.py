"""What survives what: each cell of the README's table, on the platform in this process and on real processes."""

from __future__ import annotations

import pytest

from tests.promises.keeper import Keeper

pytestmark = pytest.mark.process


@pytest.fixture(name="lambda_")
def _lambda(warm_everywhere):
    return warm_everywhere(Keeper)


def test_the_next_invocation_finds_everything(lambda_) -> None:
    """Memory slot, reset slot and resource are there for the next invocation."""
    lambda_.invoke({})

    assert {"memory": 2, "committed": 2, "opened": 1, "start": "warm"} == lambda_.invoke({}).json() | {"start": "warm"}


def test_a_freeze_loses_nothing_and_checks_the_resource(lambda_) -> None:
    """After a freeze the slots are there, and the resource was checked before the handler ran."""
    lambda_.invoke({})
    lambda_.freeze(minutes=20)

    found = lambda_.invoke({}).json()

    assert "thaw" == found["start"]
    assert (2, 2, 1) == (found["memory"], found["committed"], found["opened"])
    assert 1 == lambda_.invoke({"tell": "checks"}).json()["checks"]


def test_a_stale_resource_is_renewed_before_the_handler_runs(lambda_) -> None:
    """A resource whose check fails after a freeze is opened anew, and the handler never sees the stale one."""
    lambda_.invoke({"spoil": True})
    lambda_.freeze(minutes=20)

    assert 2 == lambda_.invoke({}).json()["opened"]


def test_a_failed_invocation_rolls_committed_slots_back(lambda_) -> None:
    """A failure keeps the memory slot as it is, rolls the reset slot back, and keeps the resource."""
    lambda_.invoke({})

    assert "RuntimeError" == lambda_.invoke({"fail": True}).error_type
    found = lambda_.invoke({}).json()

    assert (3, 2, 1) == (found["memory"], found["committed"], found["opened"])


@pytest.mark.parametrize("verb", ["reset", "kill"])
def test_a_reset_keeps_what_was_committed(lambda_, verb) -> None:
    """After a reset the memory slot is lost, the reset slot is as of the last answer, and the resource is opened on use."""
    lambda_.invoke({})
    lambda_.invoke({})
    getattr(lambda_, verb)()

    found = lambda_.invoke({}).json()

    assert "reset" == found["start"]
    assert (1, 3, 1) == (found["memory"], found["committed"], found["opened"])


def test_a_shutdown_loses_what_is_not_elsewhere(lambda_) -> None:
    """A new environment starts cold, with nothing of the old one."""
    lambda_.invoke({})
    lambda_.spindown()

    found = lambda_.invoke({}).json()

    assert "cold" == found["start"]
    assert (1, 1, 1) == (found["memory"], found["committed"], found["opened"])


def test_an_answer_is_never_sent_before_its_commit(lambda_) -> None:
    """Killed right after any answer, the next process has what the answer told."""
    for expected in range(1, 6):
        assert expected == lambda_.invoke({}).json()["committed"]
        lambda_.kill()
