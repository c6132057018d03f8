"""Completion in the shells themselves: a real one, a real Tab."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

import pytest

from tests.emulator.conftest import CLIENTS, ROOT, TASK_ROOT
from warmstate.emulator import Emulator, Function

pytestmark = pytest.mark.process

PATIENCE = 60
CASES = [
    ("warmstate free", "warmstate freeze"),
    ("warmstate dev --strategy r", "--strategy round-robin"),
    ("warmstate invoke --expect-st", "--expect-start"),
    ("warmstate completion z", "completion zsh"),
    ("warmstate thaw i-", "thaw i-1"),
    ("warmstate invoke pla", "invoke plain"),
    ("warmstate invoke --on i", "--on i-1"),
    ("warmstate invoke -F eve", "-F event.json"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a `warmstate` command, a file, and an emulator that has an instance."""
    path = tmp_path_factory.mktemp("shell")
    command = path / "bin" / "warmstate"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m warmstate.cli.main "$@"\n')
    command.chmod(0o755)
    (path / "event.json").write_text("{}")
    with Emulator() as emulator:
        runtime = [sys.executable, str(CLIENTS / "plain.py")]
        emulator.add(Function(name="plain", handler="x", task_root=TASK_ROOT, runtime=runtime))
        emulator.invoke("plain")
        (path / "environment").write_text(emulator.url)
        yield path


def environment_of(folder):
    return {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TERM": "dumb",
        "WARMSTATE_ENDPOINT": (folder / "environment").read_text(),
    }


def found(name):
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program


class Shell:
    """A shell on a terminal, in which somebody types."""

    def __init__(self, folder, *command):
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, environment_of(folder))
        self.pid = pid
        self.seen = ""

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait_for(self, text):
        """Wait until the screen has `text` after what was waited for before."""
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} not in {self.seen!r}"
            if select.select([self.terminal], [], [], 0.2)[0]:
                self.seen = re.sub(
                    r"\x1b\[[0-9;?]*[A-Za-z]|\x07", "", self.seen + os.read(self.terminal, 65_536).decode()
                )
        self.seen = self.seen.partition(text)[2]

    def end(self):
        os.close(self.terminal)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module", params=["bash", "zsh"])
def shell(request, folder):
    """bash or zsh with nothing of the user's own, and our script read as the documents say."""
    options = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[request.param]
    shell = Shell(folder, found(request.param), *options)
    shell.type(f"PS1='ready> '; source <(warmstate completion {request.param}); echo so\"\"urced\n")
    shell.wait_for("sourced")
    shell.wait_for("ready> ")
    yield shell
    shell.end()


@pytest.mark.parametrize(("typed", "completed"), CASES)
def test_tab_completes(shell, typed, completed):
    """Verbs, options, their values, names that only the emulator knows, files."""
    shell.type(f"{typed}\t")
    shell.wait_for(completed)
    shell.type("\x15\n")  # drop the line
    shell.wait_for("ready> ")


@pytest.mark.parametrize(("typed", "completed"), CASES)
def test_fish_completes(folder, typed, completed):
    """The same in fish, as it is asked by its own command."""
    script = f"warmstate completion fish | source; complete --do-complete '{typed}'"
    command = [found("fish"), "--no-config", "-c", script]
    shown = subprocess.run(
        command, env=environment_of(folder), cwd=folder, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert completed.split()[-1] in [line.split("\t")[0] for line in shown.stdout.splitlines()], shown


def test_no_emulator_has_no_names(folder):
    """Where nothing answers, nothing is offered, and nothing is said that would spoil the line."""
    environment = {**environment_of(folder), "WARMSTATE_ENDPOINT": "http://127.0.0.1:9"}
    command = [str(folder / "bin" / "warmstate"), "completion", "instances"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")
