"""The timeline tells what happened, and pytest shows it where a test failed."""

from __future__ import annotations

import pytest

from warmstate import StatefulHandler
from warmstate.errors import ConfigurationError

pytest_plugins = ["pytester"]


def test_the_timeline_tells_what_happened(warm) -> None:
    """Each verb with the time on the platform's clock, the environment, and what came of it."""
    platform = warm(lambda event, context: [context.start, event])
    platform.invoke({"photo": 1})
    platform.freeze(minutes=20)
    platform.invoke({})
    platform.kill()

    assert ["invoke", "freeze", "invoke", "kill"] == platform.timeline.words()
    assert [
        ' 0:00.000  i-1  invoke  cold: ["cold", {"photo": 1}]',
        " 0:00.000  all  freeze  for 1200 s",
        '20:00.000  i-1  invoke  thaw: ["thaw", {}]',
        "20:00.000  all  kill",
    ] == str(platform.timeline).split("\n")


def test_what_is_told_in_several_lines_stays_in_its_column(warm) -> None:
    """As an answer that is a text with line ends."""
    platform = warm(lambda event, context: [event, context.start])
    platform.timeline.add("says", "i-1", "one\ntwo")

    assert ["0:00.000  i-1  says  one", "                     two"] == str(platform.timeline).split("\n")


def test_what_the_runtime_says_is_in_it(warm) -> None:
    """A notice of the runtime stands where it was said."""

    class Talkative(StatefulHandler):
        def after_response(self, context):
            raise ValueError("unheard")

        def handle(self, event, context):
            return None

    platform = warm(Talkative)
    platform.invoke({})

    said = [moment.told for moment in platform.timeline.moments if moment.what == "says"]
    assert ["after_response failed"] == [text.removeprefix("error: ").partition(",")[0] for text in said]


def test_a_failed_test_shows_the_timeline(pytester) -> None:
    """pytest prints it below the traceback, for platforms that its fixtures made."""
    pytester.makepyfile(
        """
        def test_it(warm):
            platform = warm(lambda event, context: context.start)
            platform.invoke({"photo": 1})
            platform.freeze(minutes=20)
            assert platform.invoke({}).json() == "warm"
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*timeline of*", "*i-1*invoke*cold*", "*freeze*1200 s*", "*i-1*invoke*thaw*"])


def test_a_handler_inside_a_function_has_no_processes(warm_processes) -> None:
    """Another process could not import it; the error says what to do."""
    with pytest.raises(ConfigurationError, match="top of a module"):
        warm_processes(lambda _event, _context: None)
