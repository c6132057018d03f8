"""The fixtures `warm` and `warm_processes` as a test's only platform, and the mark that says of which handler."""

from __future__ import annotations

import json

import pytest

from warmstate import State, StatefulHandler, state
from warmstate.errors import ConfigurationError
from warmstate.testing.maker import Maker
from warmstate.testing.platform import Platform


class Counter(StatefulHandler):
    seen: State[int] = state(default=0, survives="reset")

    def handle(self, event, context):
        self.seen += 1
        return {"seen": self.seen, "memory": context.memory_limit_in_mb}


@pytest.mark.warm(Counter, memory_mb=256)
class TestTheMark:
    """What a mark says holds for the platforms of its tests."""

    def test_the_verbs_are_there_without_a_call(self, warm) -> None:
        """One platform, made with the first verb."""
        assert {"seen": 1, "memory": "256"} == warm.invoke({}).json()
        warm.freeze(minutes=20)
        assert "thaw" == warm.invoke({}).start

        assert {"cold": 1, "thaw": 1} == warm.starts
        warm.timeline.assert_order("invoke", "freeze", "invoke")
        with pytest.raises(AssertionError, match="there was no kill after invoke, freeze"):
            warm.timeline.assert_order("invoke", "freeze", "kill")

    @pytest.mark.warm(target=lambda event, _context: event)
    def test_a_target_alone_is_named(self, warm) -> None:
        """What a mark is called with alone, a decorator would be applied to."""
        assert "memory" not in warm.invoke({"a": 1}).json()

    @pytest.mark.warm(memory_mb=512)
    def test_the_nearest_mark_wins(self, warm) -> None:
        """An option of a test's own mark goes before that of its class; one of a call before both."""
        assert "512" == warm.invoke({}).json()["memory"]
        assert "128" == warm(memory_mb=128).invoke({}).json()["memory"]

    def test_of_two_platforms_neither_is_meant(self, warm) -> None:
        """It says so, instead of taking one."""
        warm(), warm()
        with pytest.raises(ConfigurationError, match="this test has 2 platforms"):
            warm.invoke({})

    def test_a_client_needs_processes(self, warm) -> None:
        """The advice names the other fixture."""
        with pytest.raises(ConfigurationError, match="use warm_processes"):
            assert warm.url

    @pytest.mark.process
    def test_boto3_calls_the_processes(self, warm_processes) -> None:
        """The client needs nothing more; the platform is started by its first call."""
        answer = warm_processes.boto3("lambda").invoke(FunctionName="function", Payload=b"{}")

        assert {"seen": 1, "memory": "256"} == json.loads(answer["Payload"].read())
        assert warm_processes.url.startswith("http://127.0.0.1:")


HANDLER = "from warmstate import StatefulHandler\n\nclass {}(StatefulHandler):\n    def handle(self, event, context):\n        return 1\n"


def test_the_handler_of_the_project(tmp_path) -> None:
    """Without a mark it is the only handler of the root folder, or the one that pyproject.toml names."""
    (tmp_path / "only_one_here.py").write_text(HANDLER.format("One"))
    assert "One" == Maker(Platform, None, {}, tmp_path)().target.__name__

    (tmp_path / "second_one_here.py").write_text(HANDLER.format("Two"))
    with pytest.raises(ConfigurationError, match=r"only_one_here.One, second_one_here.Two: write warm\(Handler\)"):
        Maker(Platform, None, {}, tmp_path)()

    text = '[tool.warmstate.functions.two]\nhandler = "second_one_here:Two"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    assert "Two" == Maker(Platform, None, {}, tmp_path)().target.__name__
