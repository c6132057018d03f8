"""`bootstrap` as each platform starts it: what it finds, what it passes on, and where imports are looked for then."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.hosts.scripted import BOOTSTRAP

pytestmark = pytest.mark.process

TELL = """
import os, sys
def handler(event, context):
    return {
        "executable": sys.executable, "handler": os.environ["_HANDLER"], "path": sys.path, "argv": sys.argv,
        "wrapped": os.environ.get("WRAPPED"), "next": os.environ.get("WARMSTATE_NEXT_WRAPPER"),
    }
"""
PYTHON = str(Path(sys.executable).with_name("python3"))


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_any_shell_runs_it(api, start, shell):
    """Plain POSIX: what an image has as sh."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    start(TELL, command=[shell, BOOTSTRAP])

    assert "app.handler" == api.ask("1").json["handler"]


def test_in_an_image_the_handler_is_the_first_word_of_the_command(api, start):
    """The platform sets no _HANDLER there."""
    start(TELL, "", command=[BOOTSTRAP, "app.handler"])

    assert "app.handler" == api.ask("1").json["handler"]


def test_the_variable_comes_before_the_command(api, start):
    """Where both name a handler, the platform's word counts."""
    start(TELL, "app.handler", command=[BOOTSTRAP, "other.handler"])

    assert "app.handler" == api.ask("1").json["handler"]


def test_as_the_wrapper_of_a_managed_runtime(api, start):
    """It is given that runtime's interpreter and program: the interpreter runs ours instead."""
    start(TELL, command=[BOOTSTRAP, PYTHON, "/var/runtime/bootstrap.py"], WARMSTATE_PYTHON="/does/not/exist")
    told = api.ask("1").json

    assert PYTHON == told["executable"]
    assert ["-c"] == told["argv"]


def test_another_vendors_wrapper_goes_first(api, start, tmp_path):
    """It gets this one to start, with the words it would have had itself, once."""
    wrapper = tmp_path / "vendor"
    wrapper.write_text('#!/bin/sh\nWRAPPED="$*" exec "$@"\n')
    wrapper.chmod(0o755)
    words = [PYTHON, "/var/runtime/bootstrap.py"]
    start(TELL, command=[BOOTSTRAP, *words], WARMSTATE_NEXT_WRAPPER=str(wrapper))
    told = api.ask("1").json

    assert [" ".join([str(BOOTSTRAP), *words]), None] == [told["wrapped"], told["next"]]
    assert PYTHON == told["executable"]


def test_the_functions_own_interpreter(api, start, tmp_path):
    """An interpreter in the package comes before one on PATH."""
    own = tmp_path / "task/python/bin/python3"
    own.parent.mkdir(parents=True)
    own.write_text(f'#!/bin/sh\nWRAPPED=own exec {PYTHON} "$@"\n')
    own.chmod(0o755)
    start(TELL, WARMSTATE_PYTHON="")

    assert "own" == api.ask("1").json["wrapped"]


def test_where_imports_are_looked_for(api, start, tmp_path):
    """First the function, and what its .pth files name; then PYTHONPATH, Python, its packages; the runtime's folder last."""
    folders = {name: tmp_path / name for name in ("named", "own", "runtime")}
    for folder in folders.values():
        folder.mkdir()
    (tmp_path / "task/more.pth").write_text(f"{folders['named']}\n")
    start(TELL, PYTHONPATH=str(folders["own"]), LAMBDA_RUNTIME_DIR=str(folders["runtime"]))
    path = api.ask("1").json["path"]
    places = [
        path.index(str(place)) for place in (tmp_path / "task", folders["own"], folders["runtime"], folders["named"])
    ]
    of_python = [number for number, place in enumerate(path) if place.startswith(sys.base_prefix)]

    assert 0 == places[0]
    assert places[1] < min(of_python)
    assert max(of_python) < places[2]
    assert "" not in path
    assert len(path) == len(set(path))
