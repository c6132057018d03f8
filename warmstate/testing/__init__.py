"""
The test kit: a Lambda platform in this process, with a clock that tests move by hand.

    def test_the_count_survives_a_reset():
        with Platform(Counter) as platform:
            platform.invoke({})
            platform.freeze(minutes=20)
            assert platform.invoke({}).start == "thaw"
            platform.reset()
            assert platform.invoke({}).json()["seen"] == 3

`ProcessPlatform` has the same verbs and runs the real bootstrap in real processes.
With pytest the fixtures `warm`, `warm_processes`, `warm_everywhere` and `warm_context` are there without an import.
"""

from __future__ import annotations

from warmstate.testing.clock import FakeClock
from warmstate.testing.contexts import context
from warmstate.testing.environment import Environment
from warmstate.testing.forgetting import assert_forgets
from warmstate.testing.leaks import assert_leaves_nothing
from warmstate.testing.platform import Platform
from warmstate.testing.processes import ProcessPlatform
from warmstate.testing.result import Result
from warmstate.testing.survival import assert_survives, survival_machine
from warmstate.testing.timeline import Timeline

__all__ = [
    "Environment",
    "FakeClock",
    "Platform",
    "ProcessPlatform",
    "Result",
    "Timeline",
    "assert_forgets",
    "assert_leaves_nothing",
    "assert_survives",
    "context",
    "survival_machine",
]
