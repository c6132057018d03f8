"""assert_leaves_nothing finds what a handler leaves behind, and lets pass what it closes."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading

import pytest

from warmstate import StatefulHandler, resource
from warmstate.testing import assert_leaves_nothing


class Tidy(StatefulHandler):
    @resource
    def pair(self):
        one, other = socket.socketpair()
        yield one
        one.close()
        other.close()

    async def handle(self, event, context):
        self.pair.send(b"x")
        await asyncio.sleep(0)


class Leaky(StatefulHandler):
    """Leaves what its event names, and puts it where the test can end it."""

    left: list[object]

    def handle(self, event, context):
        if event == "thread":
            ended = threading.Event()
            threading.Thread(target=ended.wait, name="uploader", daemon=True).start()
            self.left.append(ended)
        elif event == "descriptor":
            self.left.extend(socket.socketpair())
        elif event == "child":
            self.left.append(subprocess.Popen(["/bin/sleep", "60"]))


class AsyncLeaky(StatefulHandler):
    left: list[object]

    async def handle(self, event, context):
        task = asyncio.ensure_future(self.forever())
        task._log_destroy_pending = False
        self.left.append(task)
        await asyncio.sleep(0)

    async def forever(self):
        await asyncio.sleep(3600)


class Late(StatefulHandler):
    """Opens something on its first event and never closes it."""

    left: list[object]

    def handle(self, event, context):
        if not self.left:
            self.left.extend(socket.socketpair())


@pytest.fixture(name="left", autouse=True)
def _left(monkeypatch):
    """What leaks in a test is ended after it."""
    left = []
    for cls in (Leaky, AsyncLeaky, Late):
        monkeypatch.setattr(cls, "left", left, raising=False)
    yield left
    for thing in left:
        if isinstance(thing, threading.Event):
            thing.set()
        elif isinstance(thing, socket.socket):
            thing.close()
        elif isinstance(thing, subprocess.Popen):
            thing.kill()
            thing.wait()
    for thread in threading.enumerate():
        if thread.name == "uploader":
            thread.join()


def test_what_is_closed_is_no_leak() -> None:
    """A resource stays open between invocations and is closed at the end."""
    assert_leaves_nothing(Tidy)


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ("thread", "thread 'uploader' (5 of them)"),
        ("descriptor", "a socket (10 of them)"),
        ("child", "child process sleep"),
    ],
)
def test_what_piles_up_is_named(event, named) -> None:
    """Each invocation adds one: the message says of what, and how many."""
    with pytest.raises(AssertionError) as caught:
        assert_leaves_nothing(Leaky, event)

    assert named in str(caught.value)


def test_tasks_that_are_left_are_named() -> None:
    """A background task goes on in the middle of the next event."""
    with pytest.raises(AssertionError, match=r"task AsyncLeaky.forever \(5 of them\)"):
        assert_leaves_nothing(AsyncLeaky)


def test_what_outlives_the_shutdown_is_named() -> None:
    """Opened once and never closed: no pile, but left at the end."""
    with pytest.raises(AssertionError, match=r"left after the shutdown: descriptor of a socket \(2 of them\)"):
        assert_leaves_nothing(Late)
