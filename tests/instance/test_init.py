"""Init that fails says why, and leaves nothing half open."""

from __future__ import annotations

import asyncio
import time

import pytest

from warmstate import StatefulHandler, resource
from warmstate.lifecycle.notices import Notices


class Told(Notices):
    def __init__(self) -> None:
        self.errors = []

    def error(self, message, **fields):
        self.errors.append(message)


class Broken(StatefulHandler):
    close_for = 0.0
    closed: list[str]

    @resource
    def line(self):
        yield "line"
        time.sleep(self.close_for)
        type(self).closed.append("line")

    def on_init(self, init):
        assert self.line
        raise ValueError("the real reason")

    def handle(self, event, context):
        return None


def test_a_failing_init_closes_what_it_opened(begun) -> None:
    """The resource is closed, and the exception is the user's."""
    Broken.closed = []

    with pytest.raises(ValueError, match="the real reason"):
        begun(Broken)

    assert ["line"] == Broken.closed


def test_a_hanging_close_does_not_hide_why_init_failed(begun, monkeypatch) -> None:
    """What init raised is what the caller is told; the cut close is named in the log."""
    monkeypatch.setattr("warmstate.instance._CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(Broken, "close_for", 1.0)
    Broken.closed = []
    told = Told()

    with pytest.raises(ValueError, match="the real reason"):
        begun(Broken, notices=told)

    assert ["line"] == [message.rpartition("cut: ")[2].partition(" ")[0] for message in told.errors]


def test_a_failing_async_init_leaves_no_loop(begun) -> None:
    """The event loop that on_init used is closed with it."""
    loops = []

    class AsyncBroken(StatefulHandler):
        async def on_init(self, init):
            loops.append(asyncio.get_running_loop())
            raise SystemExit(1)

        def handle(self, event, context):
            return None

    with pytest.raises(SystemExit):
        begun(AsyncBroken)

    assert loops[0].is_closed()
