"""One emulator for a file's tests, and functions whose runtime is a client of the tests."""

import sys
from pathlib import Path

import pytest

from warmstate.emulator import Emulator, Function

CLIENTS = Path(__file__).parent / "clients"
ROOT = str(Path(__file__).parent.parent.parent)
TASK_ROOT = str(Path(__file__).parent.parent)


@pytest.fixture(scope="module")
def emulator():
    """An emulator that ends with the file's tests."""
    with Emulator() as running:
        yield running
        assert running.events.of("warmstate.fault") == []


@pytest.fixture
def make(emulator):
    """Add a function that runs one of the clients; it is removed after the test."""
    names = []

    def add(name="plain", *arguments, client="plain.py", **options):
        runtime = options.pop("runtime", [sys.executable, str(CLIENTS / client), *arguments])
        names.append(name)
        facts = {"handler": "app.Handler", "task_root": TASK_ROOT, "timeout": 20} | options
        return emulator.add(Function(name=name, runtime=runtime, **facts)).name

    yield add
    for name in set(names):
        emulator.remove(name)
