"""What the profile counts can be counted: each step runs alone, with the runtime's own objects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.events import records
from benchmarks.peers import LAMBDA
from benchmarks.profile import SIZES, STEPS, account, children, descendants

ROOT = Path(__file__).parents[1]


def test_each_step_runs(tmp_path) -> None:
    """A step that has moved elsewhere in the runtime is missed here, not in an hour of counting."""
    (tmp_path / "function").mkdir()
    for place in ("warmstate", "benchmarks/handlers/plain.py", "benchmarks/handlers/stateful.py"):
        (tmp_path / "function" / Path(place).name).symlink_to(ROOT / place)
    (tmp_path / "event").write_bytes(records(100))
    environment = {**LAMBDA, "WARMSTATE_TMP": str(tmp_path)}

    def run(step, times):
        program = [sys.executable, "-S", STEPS, tmp_path, step, times]
        return subprocess.run(program, env=environment, check=True, capture_output=True, text=True).stdout

    listed = run("list", "0").splitlines()

    assert "the answer to JSON" in listed
    assert [""] * len(listed) == [run(step, "3") for step in listed]


def test_what_was_loaded_has_sizes() -> None:
    """The runtime's functions and classes are found in an interpreter that has loaded it, and none is without a size."""
    program = [sys.executable, "-S", SIZES, ROOT]
    told = subprocess.run(program, env=LAMBDA, check=True, capture_output=True, text=True).stdout
    sizes = {name: int(number) for number, _, name in (line.partition(" ") for line in told.splitlines())}

    assert {"its lines", "its texts", "functions"} < set(sizes)
    assert min(sizes.values()) > 0


def test_the_processes_of_an_emulator_are_found() -> None:
    """A process that one of ours has started is found through it, and has an account."""
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as shell:
        try:
            while not (found := descendants(shell.pid)):
                pass
            assert shell.pid in children(os.getpid())
            assert set(found) <= set(descendants(os.getpid()))
            assert account(shell.pid) > (0, 0)
        finally:
            for pid in (*descendants(shell.pid), shell.pid):
                os.kill(pid, 9)


def test_what_is_not_installed_is_named() -> None:
    """Who asks for the profile on a new machine is told what to install, without a traceback."""
    command = [sys.executable, "-m", "benchmarks", "profile"]
    environment = {"PATH": "/nonexistent"}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nothing is counted: valgrind and strace must be installed first\n"
