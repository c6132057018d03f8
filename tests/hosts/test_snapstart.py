"""SnapStart: the real bootstrap around restore/next, and the hooks that handlers register for it."""

from __future__ import annotations

import threading

import pytest

from tests.hosts.scripted import PATIENCE, ScriptedApi, http, wait_for

pytestmark = pytest.mark.process

REGISTRY = """
before, after = [], []

def register_before_snapshot(function, *arguments, **options):
    before.append((function, arguments, options))
    return function

def register_after_restore(function, *arguments, **options):
    after.append((function, arguments, options))
    return function

def get_before_snapshot():
    return before

def get_after_restore():
    return after
"""

HANDLER = """
import random
from snapshot_restore_py import register_after_restore, register_before_snapshot

def note(word, *, fails=False):
    print(word, flush=True)
    if fails:
        raise ValueError(word)

register_before_snapshot(note, "before 1", fails="BEFORE" == "fails")
register_before_snapshot(note, "before 2")
register_after_restore(note, "after 1")
register_after_restore(note, "after 2", fails="AFTER" == "fails")

@register_before_snapshot
async def last():
    print("before 3", random.seed(1), flush=True)

def handler(event, context):
    return [context.start, context.generation, random.random()]
"""


@pytest.fixture
def snapshot(api, start, tmp_path):
    """Start a process with these hooks, and answer its restore/next when `restored` is set; `asked` is set before."""
    restored, asked = threading.Event(), threading.Event()

    def begin(*, before="works", after="works", status=200):
        def get(connection, path):
            if not path.endswith("restore/next"):
                return ScriptedApi._get(api, connection, path)
            asked.set()
            restored.wait(PATIENCE)
            connection.sendall(http(status))
            return True

        api._get = get
        (tmp_path / "task/snapshot_restore_py.py").write_text(REGISTRY)
        source = HANDLER.replace("BEFORE", before).replace("AFTER", after)
        return start(source, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")

    begin.restored, begin.asked = restored, asked
    yield begin
    restored.set()


def test_hooks_run_around_the_snapshot(api, snapshot):
    """Before it the last registered first, after it in order; nothing is asked for in between; each clone is random anew."""
    runtime = snapshot()
    assert snapshot.asked.wait(PATIENCE)
    assert ["before 3 None", "before 2", "before 1"] == runtime.output.splitlines()
    assert 0 == api.waiting
    snapshot.restored.set()
    start, generation, number = api.ask("1").json

    assert ["after 1", "after 2"] == runtime.output.splitlines()[3:]
    assert ("restore", 1) == (start, generation)
    assert abs(number - 0.13436424411240122) > 1e-9, "as every other clone"
    assert "warm" == api.ask("2").json[0]


def test_a_hook_before_the_snapshot_that_fails(api, snapshot):
    """An init error of the platform's name for it, once; the process ends with the stock runtime's code."""
    runtime = snapshot(before="fails")
    posted = api.answer()

    assert 64 == runtime.ended()
    assert ("init/error", "ValueError") == (posted.kind, posted.json["errorType"])
    assert "Runtime.BeforeSnapshotError" == posted.headers["lambda-runtime-function-error-type"]
    assert "[ERROR] ValueError: before 1" in runtime.output
    assert not snapshot.asked.is_set()
    assert api.posted.empty()


def test_a_hook_after_the_restore_that_fails(api, snapshot):
    """A restore error, once; no event is asked for."""
    runtime = snapshot(after="fails")
    snapshot.restored.set()
    posted = api.answer()

    assert 65 == runtime.ended()
    assert ("restore/error", "ValueError") == (posted.kind, posted.json["errorType"])
    assert "Runtime.AfterRestoreError" == posted.headers["lambda-runtime-function-error-type"]
    assert "[ERROR] ValueError: after 2" in runtime.output
    assert api.posted.empty()
    assert 0 == api.waiting


@pytest.mark.parametrize("status", [403, 404])
def test_a_platform_that_has_no_snapshots(api, snapshot, status):
    """The process ends and says why."""
    runtime = snapshot(status=status)
    snapshot.restored.set()

    assert "init/error" == api.answer().kind
    assert 1 == runtime.ended()
    wait_for(lambda: f"answered {status} to restore/next" in runtime.output)
