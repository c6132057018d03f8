"""
The test kit: a Lambda platform in this process, with a clock that tests move by hand.

    def test_the_count_survives_a_reset():
        with Platform(Counter) as platform:
            platform.invoke({})
            platform.freeze(minutes=20)
            assert platform.invoke({}).start == "thaw"
            platform.reset()
            assert platform.invoke({}).json()["seen"] == 3

The verbs are those of `warmstate.emulator.Emulator`, which does the same with real processes.
With pytest the fixtures `warm` and `warm_context` are there without an import.
"""

from __future__ import annotations

from warmstate.testing.clock import FakeClock
from warmstate.testing.contexts import context
from warmstate.testing.platform import Environment, Platform, Result

__all__ = ["Environment", "FakeClock", "Platform", "Result", "context"]
