"""One emulator for a file's tests, and a way to run commands against it."""

import sys

import pytest

from tests.emulator.conftest import CLIENTS, TASK_ROOT
from warmstate.cli.main import main
from warmstate.emulator import Emulator, Function


@pytest.fixture(scope="module")
def running():
    """An emulator with one function."""
    with Emulator() as emulator:
        runtime = [sys.executable, str(CLIENTS / "plain.py"), "--register"]
        emulator.add(
            Function(
                name="plain", handler="app.Handler", task_root=TASK_ROOT, runtime=runtime, timeout=2, max_instances=1
            )
        )
        yield emulator


@pytest.fixture
def run(running, capfd, monkeypatch, tmp_path):
    """Run a command in this process; returns its exit code, stdout and stderr."""
    monkeypatch.setenv("WARMSTATE_ENDPOINT", running.url)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main(arguments)
        out, err = capfd.readouterr()
        return code, out, err

    return call
