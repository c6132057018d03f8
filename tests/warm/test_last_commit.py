"""The marker tells how far commits were: an older journal, or none, is no past to take over; a newer one is."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmstate.handler import StatefulHandler
from warmstate.testing import Platform
from warmstate.warm.slot import State, state


class Counter(StatefulHandler):
    number: State[int] = state(default=0, survives="reset")
    page: State[bytes] = state(default=b"", survives="reset")

    def handle(self, event, context):
        if event.get("fail"):
            raise RuntimeError("told to")
        if event.get("count", True):
            self.number += 1
            self.page = bytes(event.get("size", 10))
        return [context.start, self.number]


@pytest.fixture
def platform():
    with Platform(Counter) as platform:
        yield platform


def journal_of(platform):
    (environment,) = platform.ps()
    (journal,) = Path(environment.tmp).glob("warmstate/*/journal")
    return environment, journal


def killed(platform, invocations, **event):
    """So many invocations, then a kill: the environment and its journal."""
    for _ in range(invocations):
        platform.invoke(event)
    platform.kill()
    return journal_of(platform)


def said_about_adoption(environment):
    return [message for _, message in environment.notices if "not taken over" in message]


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_an_older_copy_is_not_taken_over(platform, processes):
    """It is refused by the next process, and by each after it until one has committed."""
    platform.invoke({})
    environment, journal = journal_of(platform)
    older = journal.read_bytes()
    killed(platform, 2)
    journal.write_bytes(older)
    for number in range(processes):
        assert platform.invoke({"count": False}).json() == ["reset", 0]
        assert len(said_about_adoption(environment)) == number + 1
        platform.kill()

    assert platform.invoke({}).json() == ["reset", 1]
    assert (
        "ends with commit 1, and 3 had been made: it was replaced by an older copy"
        in said_about_adoption(environment)[-1]
    )
    killed(platform, 1)
    assert platform.invoke({}).json() == ["reset", 3]
    assert len(said_about_adoption(environment)) == processes + 1


def test_an_older_copy_in_the_same_file_is_not_taken_over(platform):
    """Nor where the bytes were copied over those in the file, behind a compaction."""
    platform.invoke({"size": 200_000})
    _, journal = journal_of(platform)
    older = journal.read_bytes()
    for _ in range(20):
        platform.invoke({"size": 200_000})
    assert journal.stat().st_size < 3_000_000, "it was rewritten"
    platform.kill()
    with journal.open("r+b") as file:
        file.write(older)
        file.truncate(len(older))

    assert platform.invoke({}).json() == ["reset", 1]


def test_a_removed_journal_is_told(platform):
    """The slots are at their defaults, and the log says why."""
    environment, journal = killed(platform, 3)
    journal.unlink()

    assert platform.invoke({}).json() == ["reset", 1]
    assert [
        "the journal of 3 commits was removed: leave WARMSTATE_TMP/warmstate alone" in line
        for line in said_about_adoption(environment)
    ] == [True]


def test_what_the_marker_does_not_tell_yet_is_taken_over(platform):
    """A process is killed behind its commit, before it could tell of it; so is one that died while it failed, or before any commit."""
    assert platform.invoke({"count": False}).json() == ["cold", 0]
    platform.kill()
    assert platform.invoke({}).json() == ["reset", 1]
    platform.invoke({"fail": True})
    for number in range(2, 5):
        platform.invoke_and_die({})
        assert platform.invoke({"count": False}).json() == ["reset", number]
    environment, _ = journal_of(platform)

    assert said_about_adoption(environment) == []


def test_a_failed_commit_is_not_counted(platform, monkeypatch):
    """What could not be written was never committed, so the next process does not miss it."""
    from warmstate.warm.spill.files import Files

    platform.invoke({})
    with monkeypatch.context() as patched:

        def full(*_):
            raise OSError(28, "No space left on device")

        patched.setattr(Files, "pwritev", full)
        assert platform.invoke({}).error_type == "Runtime.CommitError"
    platform.kill()

    assert platform.invoke({}).json() == ["reset", 2]
