"""The instance is held to the published table: every step of `SEQUENCE`, in its order, and what an exception in it leads to."""

from __future__ import annotations

import time

import pytest

from warmstate import State, StatefulHandler, Tail, resource, state, tail
from warmstate.instance import Instance, serving
from warmstate.instance.hooks import SEQUENCE
from warmstate.instance.warm_parts import WarmParts
from warmstate.lifecycle.environment import Environment
from warmstate.lifecycle.events import Init, Shutdown, Thaw
from warmstate.wire.runtime_api import Invocation

STEPS: list[str] = []


class Recorder(StatefulHandler):
    """Writes down each of its hooks, and fails in the one that `failing` names."""

    failing = ""
    count: State[int] = state(default=0, survives="reset")
    items: Tail[int] = tail(max_items=1)

    def __init__(self) -> None:
        self.ran("construct")

    def ran(self, step):
        STEPS.append(step)
        if step == self.failing:
            raise ValueError(step)

    @resource
    def line(self):
        yield "line"
        self.ran("close")

    @items.flush
    def write(self, batch):
        self.count += 10
        self.ran("flush")

    def on_init(self, init):
        self.count += 1
        self.ran("on_init")

    def on_thaw(self, thaw):
        self.count += 1
        self.ran("on_thaw")

    def handle(self, event, context):
        self.count += 1
        self.items.append(1)
        assert self.line
        self.ran("handle")

    def after_response(self, context):
        self.count += 1
        self.ran("after_response")

    def before_shutdown(self, shutdown):
        self.items.append(1)
        self.ran("before_shutdown")


@pytest.fixture(name="watched")
def _watched(monkeypatch):
    """The runtime's own steps are written down as well: white-box, for nobody else can see them."""
    STEPS.clear()

    def watch(owner, name, step):
        original = getattr(owner, name)

        def watching(*arguments, **options):
            STEPS.append(step)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, watching)

    watch(WarmParts, "open", "adopt")
    watch(WarmParts, "thawed", "renew")
    watch(serving, "encode_answer", "encode")
    watch(WarmParts, "settle", "settle")


def live(directory, failing=""):
    """One short life with a freeze in it; returns the instance and the answer to its only invocation."""
    cls = type("Recorder", (Recorder,), {"failing": failing, "__module__": __name__})
    environment = Environment.from_mapping({"AWS_LAMBDA_FUNCTION_NAME": "function"})
    instance = Instance(cls, environment, directory=str(directory))
    instance.init(Init("cold"))
    answer = instance.invoke(
        Invocation("r-1", b"{}", deadline_ms=int((time.time() + 60) * 1000)), thaw=Thaw(1200.0, 1200.0)
    )
    STEPS.append("post")
    instance.finish(answer)
    instance.shutdown(Shutdown(seconds_left=10.0))
    instance.abandon()
    return instance, answer


def test_every_step_runs_in_the_order_of_the_table(watched, tmp_path, monkeypatch) -> None:
    """Nothing is missing, nothing runs twice, nothing runs that the table does not name."""
    committed = WarmParts.commit

    def commit(parts, context):
        if context is not None and "handle" in STEPS:  # each unit commits; the table shows that of the invocation
            STEPS.append("commit")
        committed(parts, context)

    monkeypatch.setattr(WarmParts, "commit", commit)
    live(tmp_path)

    assert [step.name for step in SEQUENCE] == STEPS


@pytest.mark.parametrize(
    "step", [step.name for step in SEQUENCE if step.runs == "handler" and step.phase == "invocation"]
)
def test_an_exception_leads_to_what_the_table_says(watched, tmp_path, step) -> None:
    """Only what runs before the answer fails the invocation, and a failed flush does not; the end runs in any case."""
    _, answer = live(tmp_path, failing=step)

    fails = step in {"on_thaw", "handle"}
    assert ("ValueError" if fails else None) == getattr(answer.outcome, "error_type", None)
    assert ("after_response" in STEPS) == (step != "on_thaw")
    assert {"before_shutdown", "flush"} <= set(STEPS[STEPS.index("settle") :])


@pytest.mark.parametrize("step", ["before_shutdown", "flush", "close"])
def test_a_step_of_the_end_that_fails_stops_no_other(watched, tmp_path, step) -> None:
    """All three run, whichever raises."""
    live(tmp_path, failing=step)

    assert {"before_shutdown", "flush", "close"} <= set(STEPS[STEPS.index("settle") :])


@pytest.mark.parametrize("step", ["construct", "on_init"])
def test_an_init_that_fails_serves_nothing(watched, tmp_path, step) -> None:
    """The exception is the user's, and no later step runs."""
    with pytest.raises(ValueError, match=step):
        live(tmp_path, failing=step)

    assert step == STEPS[-1]
