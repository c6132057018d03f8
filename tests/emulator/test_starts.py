"""How an invocation found its instance: what the emulator says, and what the handler is told by warmstate's runtime, are one."""

import pytest

from warmstate.emulator import Function

pytestmark = pytest.mark.process

HANDLER = """
import os, pathlib, time
from warmstate import State, StatefulHandler, state

class Handler(StatefulHandler):
    count: State[int] = state(default=0, survives="reset")

    def on_init(self, init):
        failures = pathlib.Path(os.environ["FAILURES"], "left")
        left = int(failures.read_text())
        if left:
            failures.write_text(str(left - 1))
            raise RuntimeError("not yet")

    def handle(self, event, context):
        if "exit" in event:
            os._exit(3)
        time.sleep(event.get("sleep", 0))
        self.count += 1
        return [context.start, context.generation, self.count]
"""
FAILS = {"exit": 1}
HISTORIES = {
    "init fails once": ({}, [1, {}, {}], ["cold 2 1", "warm 2 2"]),
    "init fails twice": ({}, [2, {}, {}], ["RuntimeError", "cold 3 1"]),
    "init fails twice after a kill": (
        {},
        [0, {}, "kill", 2, {}, {}, {}],
        ["cold 1 1", "RuntimeError", "RuntimeError", "reset 4 2"],
    ),
    "init fails after a reset": (
        {},
        [0, {}, "reset", 1, {}, {}, {}],
        ["cold 1 1", "RuntimeError", "reset 3 2", "warm 3 3"],
    ),
    "crash": ({}, [0, {}, FAILS, {}], ["cold 1 1", "Runtime.ExitError", "reset 2 2"]),
    "timeout": ({"timeout": 5}, [0, {}, {"sleep": 60}, {}], ["cold 1 1", "Sandbox.Timedout", "reset 2 2"]),
    "kill": ({}, [0, {}, "freeze", "kill", {}, "spindown", {}], ["cold 1 1", "reset 2 2", "cold 1 1"]),
    "provisioned": (
        {"provisioned": 1},
        [0, {}, "kill", {}, "reset", 1, {}, {}],
        ["provisioned 1 1", "reset 2 2", "RuntimeError", "reset 4 3"],
    ),
    "provisioned, init fails": ({"provisioned": 1}, [1, {}, {}], ["provisioned 2 1", "warm 2 2"]),
    "snapshot": ({"snap_start": True}, [0, {}, "kill", {}, {}], ["restore 1 1", "restore 1 2", "warm 1 3"]),
    "managed": ({"max_concurrency": 2}, [0, {}, FAILS, {}], ["cold 1 1", "Runtime.ExitError", "cold 1 1"]),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_both_sides_tell_the_same(emulator, tmp_path, history):
    """Whatever went before: an init that failed, a crash, a kill, a restore."""
    options, steps, expected = HISTORIES[history]
    (tmp_path / "app.py").write_text(HANDLER)
    left = tmp_path / "failures" / "left"
    left.parent.mkdir()
    left.write_text(str(steps[0]))
    environment = {"FAILURES": str(left.parent), "WARMSTATE_THAW_AFTER": "600"}
    where = {"name": "starts", "handler": "app.Handler", "task_root": str(tmp_path), "environment": environment}
    emulator.add(Function(**where, **{"timeout": 20, **options}))
    found = []
    try:
        for step in steps[1:]:
            if isinstance(step, int):
                left.write_text(str(step))
            elif isinstance(step, str):
                getattr(emulator, step)()
            else:
                result = emulator.invoke("starts", step)
                if result.error_type is None:
                    assert result.start == result.json()[0]
                found.append(result.error_type or " ".join(map(str, result.json())))
    finally:
        emulator.remove("starts")
    assert found == expected
