"""Committed state across a snapshot: a clone has what `on_init` committed, commits at once, and its resets find that."""

from __future__ import annotations

import time

from warmstate.handler import StatefulHandler
from warmstate.instance import Instance
from warmstate.lifecycle.environment import Environment
from warmstate.lifecycle.events import Init
from warmstate.lifecycle.marker import claim
from warmstate.warm.slot import State, state
from warmstate.wire.runtime_api import Invocation


class Prepared(StatefulHandler):
    answered: State[int] = state(default=0, survives="reset")
    model: State[dict[str, str]] = state(factory=dict, survives="reset")

    def on_init(self, init):
        if not self.model:
            self.answered = 100
            self.model["weights"] = "w" * 100_000

    def handle(self, event, context):
        self.answered += 1
        return [self.answered, len(self.model["weights"])]


def serve(instance, number):
    answer = instance.invoke(Invocation(f"r-{number}", b"{}", int(time.time() * 1000) + 30_000))
    instance.finish(answer)
    return answer.outcome.body


def test_a_clone_commits_at_once_and_its_reset_finds_that(tmp_path):
    """A restore empties the directory: that is no fault, and the first commit writes everything that the snapshot held."""
    environment = Environment.from_mapping({"AWS_LAMBDA_FUNCTION_NAME": "f", "WARMSTATE_TMP": str(tmp_path)})
    claimed = claim(environment.tmp, environment=environment)
    instance = Instance(Prepared, environment, directory=claimed.directory, last_commit=claimed.last_commit)
    instance.init(Init("cold", 1, None, 10.0, claimed.fence))
    instance.before_snapshot()
    claimed.write("snapshot")
    claimed.renew()
    instance.after_restore(Init("restore", 1, None, 10.0, claimed.fence))

    assert [b"[101, 100000]", b"[102, 100000]"] == [serve(instance, number) for number in (1, 2)]
    claimed.write("next")
    instance.abandon()
    claimed.abandon()
    again = claim(environment.tmp, environment=environment)
    instance = Instance(Prepared, environment, directory=again.directory, last_commit=again.last_commit)
    instance.init(Init(again.start, again.generation, again.reset_reason, 10.0, again.fence))
    assert ("reset", b"[103, 100000]") == (again.start, serve(instance, 3))
    instance.abandon()
    again.abandon()
