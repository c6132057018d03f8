"""Handlers, a scripted Runtime API and real runtime processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.hosts.scripted import Runtime, ScriptedApi


@pytest.fixture
def api():
    with ScriptedApi() as scripted:
        yield scripted


@pytest.fixture
def start(api, tmp_path):
    """Start the runtime with this source as its `app` module; every process is ended with the test."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "task").mkdir()
    started = []

    def start(source, handler="app.handler", **variables):
        (tmp_path / "task/app.py").write_text(source)
        runtime = Runtime(api, handler, tmp_path / "task", tmp=tmp_path / "tmp", **variables)
        started.append(runtime)
        return runtime

    yield start
    for runtime in started:
        runtime.__exit__()
