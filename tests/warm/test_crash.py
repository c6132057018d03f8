"""A kill at any byte of a commit, a compaction or an adoption: what was acknowledged is there, whole, and nothing of what was not."""

from __future__ import annotations

import pytest

from tests.warm.crash_disk import CrashDisk
from tests.warm.desk import Desk
from warmstate.errors import CommitError
from warmstate.warm.commits import compaction
from warmstate.warm.commits.journal import Journal
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.slot import State, state


class Later(Desk):
    """The same state as newer code declares it."""

    text: State[list[str]] = state(factory=list, survives="reset", schema=2)

    @text.migrate(1)
    def from_1(self, old):
        return [*old.values()]


def begin(disk, kind=Desk):
    desk = kind()
    ledger = Ledger(desk, kind.__warmstate__, backend=Journal("/disk", files=disk))
    return desk, ledger, ledger.open()


def state_of(desk, ledger):
    """What is committed, as plain values, with the requests that it holds."""
    text = list(desk.text.values()) if isinstance(desk.text, dict) else list(desk.text)
    found = desk.number, text, list(desk.lines), ledger.committed_request_ids
    ledger.rollback()
    return found


def work(desk, ledger, number, size=8):
    """One unit of work."""
    ledger.begin("handle")
    desk.number = number
    if isinstance(desk.text, dict):
        desk.text["n"] = f"{number:0{size}}"
    else:
        desk.text[:] = [f"{number:0{size}}"]
    desk.lines.append(number, id=f"line-{number}")
    ledger.flush_due()
    ledger.commit(f"request-{number}")


class Told:
    """The states that the process under test answered for, each with the moment from which on it holds."""

    def __init__(self, disk, first):
        self.disk = disk
        self.states = [(0, first)]

    def acknowledged(self, state):
        self.states.append((self.disk.moments, state))

    def allowed_at(self, moment):
        """The last state acknowledged by then, and the one that may have been under way."""
        last = max(index for index, (since, _) in enumerate(self.states) if since <= moment)
        return [state for _, state in self.states[last : last + 2]]


def check(told, moments, kind=Desk, later=None, each=1):
    """After a kill at each of these moments the next process finds an allowed state; at each n-th it is seen to go on."""
    for count, moment in enumerate(moments):
        disk = told.disk.disk_at(moment)
        desk, ledger, adoption = begin(disk, kind)
        assert adoption.dropped_reason is None, (moment, adoption.dropped_reason)
        found = state_of(desk, ledger)
        assert found in told.allowed_at(moment), moment
        if count % each:
            continue
        work(desk, ledger, 1000)
        ended = state_of(desk, ledger)
        assert ended[3][:-1] == found[3]
        assert ["/disk/journal"] == list(disk.names), moment
        desk, ledger, adoption = begin(disk, later or kind)
        assert (ended, True) == (state_of(desk, ledger), adoption.adopted), moment


@pytest.fixture
def eager(monkeypatch):
    """Compaction that begins after a few hundred bytes."""
    monkeypatch.setattr(compaction, "_SMALL", 400)


def lived(disk, units=4, kind=Desk):
    """A process that works, settles after every unit, and is killed some time."""
    desk, ledger, _ = begin(disk, kind)
    told = Told(disk, state_of(desk, ledger))
    for number in range(1, units + 1):
        work(desk, ledger, number)
        told.acknowledged(state_of(desk, ledger))
        ledger.settle()
    return told


@pytest.mark.usefixtures("eager")
def test_a_kill_at_any_byte_of_commits_and_compactions():
    """Every byte of four commits with their flushes and compactions, and every change of a name between them."""
    disk = CrashDisk()
    told = lived(disk)

    assert 2 <= sum(change[1] == "rename" for change in disk.log)
    check(told, range(disk.moments + 1), each=5)


def test_a_kill_at_any_byte_behind_a_torn_end():
    """The process after a kill wipes what that left and goes on; it is killed at every byte of that too."""
    disk = CrashDisk()
    lived(disk, 2)
    begun, _, _, _, body = next(change for change in reversed(disk.log) if change[1] == "write")
    interesting = {0, 2, 6, 10, 12, len(body) // 2, *(len(body) - n for n in (1, 3, 4, 5))}
    for torn in sorted(interesting):
        second = disk.disk_at(begun + torn)
        desk, ledger, adoption = begin(second)
        assert adoption.dropped_reason is None, torn
        told = Told(second, state_of(desk, ledger))
        work(desk, ledger, 50)
        told.acknowledged(state_of(desk, ledger))
        check(told, range(second.moments + 1), each=7)


def test_a_kill_at_any_byte_behind_a_write_that_failed():
    """A full disk takes part of a record, which is wiped; a kill while that happens never brings the refused commit back."""
    disk = CrashDisk()
    lived(disk, 2)
    for written in range(0, 400, 5):
        second = disk.disk_at(disk.moments)
        desk, ledger, _ = begin(second)
        before = state_of(desk, ledger)
        told = Told(second, before)
        second.fail_after = written
        try:
            work(desk, ledger, 50)
        except CommitError as error:
            assert "disk is full" in str(error)  # noqa: PT017 - the loop ends where the record is shorter
            ledger.rollback()
        else:
            assert written > 100
            break
        assert before == state_of(desk, ledger)
        told.acknowledged(before)
        refused = second.moments
        work(desk, ledger, 51)
        told.acknowledged(state_of(desk, ledger))
        check(told, range(refused + 1) if written % 30 == 0 else (0, refused - 1, refused))
    else:
        raise AssertionError("no record was as short as that")


def test_a_kill_at_any_byte_of_the_first_commit_of_newer_code():
    """What newer code migrated is adopted anew until its first commit is there, with all of it."""
    disk = CrashDisk()
    lived(disk, 3)
    second = disk.disk_at(disk.moments)
    desk, ledger, adoption = begin(second, Later)
    assert adoption.adopted
    told = Told(second, state_of(desk, ledger))
    assert ["00000003"] == told.states[0][1][1]
    ledger.begin("handle")
    desk.number = 60
    ledger.commit("request-60")
    told.acknowledged(state_of(desk, ledger))

    check(told, range(second.moments + 1), Later)


def test_what_was_migrated_survives_a_unit_that_fails():
    """The first unit of newer code fails: the migrated value is still there, and is committed with the next one."""
    disk = CrashDisk()
    lived(disk, 3)
    desk, ledger, _ = begin(disk, Later)
    ledger.begin("handle")
    desk.text.append("never")
    ledger.rollback()

    assert ["00000003"] == state_of(desk, ledger)[1]
    ledger.begin("handle")
    desk.number = 70
    ledger.commit("request-70")
    desk, ledger, adoption = begin(disk, Later)
    assert (True, 70, ["00000003"]) == (adoption.adopted, *state_of(desk, ledger)[:2])


@pytest.mark.parametrize("size", [3000, 70_000])
def test_a_kill_around_the_edges_of_large_commits(size):
    """Records over several blocks: every byte near their ends and near the edges of blocks."""
    disk = CrashDisk()
    desk, ledger, _ = begin(disk)
    told = Told(disk, state_of(desk, ledger))
    for number in range(1, 4):
        work(desk, ledger, number, size)
        told.acknowledged(state_of(desk, ledger))
    moments = set()
    for begun, word, *change in disk.log:
        length = len(change[2]) if word == "write" else 1
        near = {0, 1, 7, 8, 11, 12, 20, length - 5, length - 4, length - 3, length - 1, length}
        moments |= {begun + place for place in near if 0 <= place <= length}
        if word == "write":
            edges = range(-change[1] % 4096, length, 4096)
            moments |= {begun + edge + step for edge in edges for step in (-1, 0, 1) if 0 <= edge + step <= length}
    check(told, sorted(moments))
