"""Cold or reset, and why the process before ended: from a marker that another process left."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from warmstate.lifecycle.environment import Environment
from warmstate.lifecycle.marker import claim
from warmstate.lifecycle.notices import Notices
from warmstate.lifecycle.predecessor import SIZE, Predecessor

NAMED = Environment(function_name="f", log_stream_name="2026/11/21/[$LATEST]abc")

CHILD = """
import os, shutil, sys
from warmstate.lifecycle.environment import Environment
from warmstate.lifecycle.marker import claim
taken = claim(sys.argv[1], environment=Environment(function_name="f", log_stream_name=sys.argv[2]))
for step in sys.argv[3:]:
    match step.split(":"):
        case ["write", *what]: taken.write(what[0], *what[1:2], *map(int, what[2:3]))
        case ["say", word]: taken.say(word)
        case ["close"]: taken.close()
        case ["answered"]: taken.answered()
        case ["clear"]: shutil.rmtree(sys.argv[1] + "/warmstate"); taken.last_commit.in_doubt = True
        case ["closerange"]: os.closerange(3, 256)
        case ["leave", name]: open(taken.directory + "/" + name, "w").close()
        case ["wait"]: print(taken.directory, flush=True); sys.stdin.read()
print(taken.start, taken.generation, taken.reset_reason, flush=True)
os._exit(0)
"""


class Heard(Notices):
    def __init__(self):
        self.said = []

    def warning(self, message, **fields):
        self.said.append(message)

    error = warning


def names(directory):
    return {path.name for path in Path(directory).iterdir()}


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def process(tmp, *steps, stream=NAMED.log_stream_name):
    """What a process of this environment, which takes `steps` and dies, learned at its start."""
    command = [sys.executable, "-c", CHILD, str(tmp), stream, *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_first_process_is_cold(tmp_path):
    """Nothing was here before."""
    assert ["cold", "1", "None"] == process(tmp_path)


@pytest.mark.parametrize(
    ("steps", "learned"),
    [
        (("write:next",), ["reset", "2", "crash"]),
        (("write:next", "write:invoke:id-1:1000"), ["reset", "2", "crash"]),
        (("write:next", "close"), ["reset", "2", "exit"]),
        (("write:next", "write:invoke:id-1:1000", "say:term"), ["reset", "2", "timeout"]),
        (("write:next", "write:invoke:id-1:9999999999999", "say:term"), ["reset", "2", "crash"]),
        (("write:next", "say:term"), ["reset", "2", "crash"]),
        ((), ["cold", "2", "None"]),
        (("write:init",), ["cold", "2", "None"]),
    ],
    ids=["idle", "handler", "exit", "timeout", "terminated early", "terminated idle", "init", "init written"],
)
def test_why_the_process_before_ended(tmp_path, steps, learned):
    """Exit is what it said itself, timeout a SIGTERM past the deadline, crash the rest; an unfinished init leaves it cold."""
    process(tmp_path, *steps)

    assert learned == process(tmp_path)


def test_who_follows_an_init_that_failed(tmp_path):
    """It is the first while none before it had reached its first next, and a reset after one that had."""
    for wanted in ("cold", "cold", "cold"):
        assert process(tmp_path, "close")[0] == wanted
    assert process(tmp_path, "write:next")[0] == "cold"
    for reason in ("crash", "exit", "exit"):
        start, _, why = process(tmp_path, "close")
        assert (start, why) == ("reset", reason)


def test_generations_count_on(tmp_path):
    """Each process of an environment has the next number, and the environment keeps its id."""
    for generation in range(1, 5):
        assert str(generation) == process(tmp_path, "write:next", "answered")[1]
    taken = claim(str(tmp_path), environment=NAMED)
    try:
        assert taken.predecessor is not None
        assert taken.predecessor.environment_id == taken.environment_id
        assert taken.fence.startswith(f"{taken.environment_id}.5.")
    finally:
        taken.close()


def test_what_the_predecessor_was_busy_with(tmp_path):
    """The request that died with a process can be told from its successor."""
    process(tmp_path, "write:next", "write:invoke:8476a536-e9f4-11e8:1000")
    taken = claim(str(tmp_path), environment=NAMED)
    taken.close()

    assert taken.predecessor is not None
    assert ("invoke", "8476a536-e9f4-11e8") == (taken.predecessor.phase, taken.predecessor.request_id)


def test_a_shorter_text_does_not_show_the_longer_one_before(tmp_path):
    """Each write replaces its field as a whole, as seen by a reader."""
    process(tmp_path, "write:next", f"write:invoke:{'x' * 128}:1234567890123", "write:next")
    taken = claim(str(tmp_path), environment=NAMED)
    taken.close()

    assert taken.predecessor is not None
    assert ("next", None, 0) == (taken.predecessor.phase, taken.predecessor.request_id, taken.predecessor.deadline_ms)


def test_live_processes_have_directories_of_their_own(tmp_path):
    """A directory belongs to one process as long as that lives, and to the next one afterwards."""
    command = [sys.executable, "-c", CHILD, str(tmp_path), NAMED.log_stream_name, "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        theirs = other.stdout.readline().strip()
        ours = claim(str(tmp_path), environment=NAMED)
        ours.close()
        other.communicate("")
    later = claim(str(tmp_path), environment=NAMED)
    later.close()

    assert [f"{tmp_path}/warmstate/0", f"{tmp_path}/warmstate/1", f"{tmp_path}/warmstate/0"] == [
        theirs,
        ours.directory,
        later.directory,
    ]


def test_instances_of_one_process_have_directories_of_their_own(tmp_path):
    """A module may make two handlers: neither takes the other for its past, and no other process gets the directory of either."""
    first, second = (claim(str(tmp_path), environment=NAMED) for _ in range(2))
    _, stranger, _ = process(tmp_path, "write:next")
    first.close()
    again = claim(str(tmp_path), environment=NAMED)
    for taken in (second, again):
        taken.close()

    root = f"{tmp_path}/warmstate"
    assert [f"{root}/0", f"{root}/1", f"{root}/0"] == [first.directory, second.directory, again.directory]
    assert ("cold", "cold", "1") == (first.start, second.start, stranger)
    assert 3 == len(names(root))


def test_another_sandbox_on_the_same_tmp_is_no_past(tmp_path):
    """What an environment with another log stream left is not adopted and is cleared away."""
    process(tmp_path, "write:next", "leave:journal", stream="other")

    assert ["cold", "1", "None"] == process(tmp_path)
    assert {"marker"} == names(tmp_path / "warmstate/0")


def test_a_reset_keeps_what_lies_there(tmp_path):
    """Files of the predecessor are what the reset tier is made of."""
    process(tmp_path, "write:next", "leave:journal")
    process(tmp_path)

    assert {"marker", "journal"} == names(tmp_path / "warmstate/0")


def test_a_crash_loop_drops_what_may_cause_it(tmp_path):
    """After three crashes in a row without a completed invocation nothing of /tmp is adopted."""
    process(tmp_path, "leave:journal", "write:next")
    process(tmp_path, "write:next")
    process(tmp_path, "write:next")
    heard = Heard()
    taken = claim(str(tmp_path), environment=NAMED, notices=heard)
    taken.close()

    assert {"marker"} == names(taken.directory)
    assert "crashed before they completed an invocation" in heard.said[0]


def test_crashes_between_good_invocations_are_no_loop(tmp_path):
    """A process that completed an invocation clears the count."""
    process(tmp_path, "leave:journal", "write:next", "answered")
    for _ in range(6):
        process(tmp_path, "write:next", "answered")

    assert "journal" in names(tmp_path / "warmstate/0")


def test_a_handler_that_closes_every_descriptor(tmp_path):
    """The marker is opened and locked again at the next write."""
    process(tmp_path, "closerange", "write:next", "close")

    assert ["reset", "2", "exit"] == process(tmp_path)


def test_a_handler_that_clears_tmp(tmp_path):
    """The marker comes again where it was, with all that it told, and its directory is held as before."""
    process(tmp_path, "write:next", "clear", "write:invoke:r1:5", "write:next")
    assert ["reset", "2", "crash"] == process(tmp_path, "write:next", "clear", "write:invoke:r2:5")
    taken = claim(str(tmp_path), environment=NAMED)
    assert (taken.generation, taken.predecessor.request_id) == (3, "r2")
    taken.close()


def test_a_number_that_leads_to_a_stranger(tmp_path):
    """Where the marker was closed and its number taken, it is opened anew, and what has the number stays open."""
    taken = claim(str(tmp_path), environment=NAMED)
    stranger, other = socket.socketpair()
    number = taken._fd
    os.dup2(stranger.fileno(), number)
    taken.last_commit.in_doubt = True
    taken.write("next")

    assert os.path.sameopenfile(number, stranger.fileno())
    assert "next" == Predecessor(Path(taken.directory, "marker").read_bytes()).phase
    os.close(number)
    stranger.close()
    other.close()
    taken.close()


def test_only_the_user_can_enter(tmp_path):
    """Directories are 0700 and the marker 0600, whatever the umask and whatever was there."""
    (tmp_path / "warmstate").mkdir(mode=0o755)
    taken = claim(str(tmp_path), environment=NAMED)
    taken.close()
    modes = [mode(path) for path in (tmp_path / "warmstate", taken.directory)]

    assert [0o700, 0o700] == modes
    assert 0o600 == mode(f"{taken.directory}/marker")


@pytest.mark.parametrize("make", ["file", "link", "loop", "absent"])
def test_a_tmp_that_cannot_be_used(tmp_path, make):
    """Then there is no directory, the instance is cold, and a notice says what to do; nothing raises."""
    place = tmp_path / "warmstate"
    target = tmp_path / "elsewhere"
    if make == "file":
        place.write_text("")
    elif make == "link":
        target.mkdir()
        place.symlink_to(target)
    elif make == "loop":
        place.symlink_to(place)
    heard = Heard()
    tmp = tmp_path / "not there" if make == "absent" else tmp_path
    taken = claim(str(tmp), environment=NAMED, notices=heard)
    taken.write("next")
    taken.answered()
    taken.close()

    assert (None, "cold", 1) == (taken.directory, taken.start, taken.generation)
    assert taken.refusal.startswith(f"{tmp}/warmstate cannot be used (")
    assert "WARMSTATE_TMP" in heard.said[0]
    assert not target.exists() or not names(target)


def test_a_tmp_that_fails_behind_the_marker(tmp_path):
    """What the marker told of the start holds; no commits are missed, since there is no journal to read."""
    before = claim(str(tmp_path), environment=NAMED)
    before.last_commit.number = 3
    before.write("next")
    before.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        taken = claim(str(tmp_path), environment=NAMED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert "File too large" in taken.refusal
    assert (None, "reset", 2) == (taken.directory, taken.start, taken.generation)
    assert 0 == taken.last_commit.number


def test_a_restored_clone_is_another_environment(tmp_path):
    """After a restore ids are new, the generation is 1 and what the snapshot had committed is gone."""
    taken = claim(str(tmp_path), environment=NAMED)
    before = taken.environment_id, taken.fence
    Path(taken.directory, "journal").write_text("committed before the snapshot")
    Path(taken.directory, "spill").mkdir()
    Path(taken.directory, "spill", "0").write_text("scratch")
    taken.renew()
    taken.close()

    assert ("restore", 1) == (taken.start, taken.generation)
    assert not {*before} & {taken.environment_id, taken.fence}
    assert {"marker"} == names(taken.directory)


@given(st.binary(max_size=SIZE + 10))
def test_hostile_bytes_are_no_marker(record):
    """Whatever lies in the file, reading it gives a predecessor or says that there is none."""
    try:
        predecessor = Predecessor(record)
    except ValueError:
        return
    assert predecessor.generation >= 1


@pytest.mark.parametrize("record", [b"", b" " * SIZE, b"warmstate1 \xff", b"warmstate9 " + b"x" * 100, b"\0" * SIZE])
def test_damaged_markers_mean_a_cold_start(tmp_path, record):
    """A marker that cannot be read counts as none."""
    place = tmp_path / "warmstate/0"
    place.mkdir(parents=True)
    (place / "marker").write_bytes(record)
    (place / "left over").write_bytes(b"of nobody")

    assert ["cold", "1", "None"] == process(tmp_path)
    assert {"marker"} == names(place)


@pytest.mark.parametrize("record", [b"", b"\0" * SIZE])
def test_what_a_damaged_marker_costs_is_told(tmp_path, record):
    """Without it nobody knows whose commits these are; that they are dropped is said."""
    first = claim(str(tmp_path), environment=NAMED)
    Path(first.directory, "journal").write_bytes(b"commits")
    first.close()
    Path(first.directory, "marker").write_bytes(record)
    heard = Heard()
    taken = claim(str(tmp_path), environment=NAMED, notices=heard)

    assert ("cold", 1) == (taken.start, taken.generation)
    assert ["its marker is damaged or was removed" in said for said in heard.said] == [True]
    taken.close()
