"""
What a handler leaves behind: threads, descriptors, children and tasks that pile up.

Whatever is left running stops with the freeze and goes on in the middle of somebody else's event.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from warmstate.testing.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.handler import StatefulHandler

__all__ = ["assert_leaves_nothing"]


def assert_leaves_nothing(
    target: type[StatefulHandler] | Callable[[Any, Any], object],
    event: object = None,
    *,
    invocations: int = 5,
    **options: Any,
) -> None:
    """
    Invoke `target`, and fail if threads, descriptors, child processes or asyncio tasks pile up or outlive its shutdown.

    What the first invocation opens may stay until the shutdown: that is what resources are. What each further one adds is a leak,
    and so is what is left when the environment was spun down.

    Args:
        target: The handler.
        event: The event of every invocation.
        invocations: How many there are after the first.
        options: As for `Platform`.

    Raises:
        AssertionError: It names what was left, and when.
    """
    at_first = _things()
    with Platform(target, **options) as platform:
        platform.invoke(event)
        warm = _things()
        for _ in range(invocations):
            platform.invoke(event)
        piled_up = _things() - warm
        platform.spindown()
        left = _things() - at_first
        problems = [f"each invocation leaves one more: {name}" for name in _names(piled_up)]
        problems += [f"left after the shutdown: {name}" for name in _names(left - piled_up)]
        if problems:
            raise AssertionError("\n".join([*problems, "", str(platform.timeline)]))


def _names(things: Counter[str]) -> list[str]:
    return [name if count == 1 else f"{name} ({count} of them)" for name, count in sorted(things.items())]


def _things() -> Counter[str]:
    """What this process has open now, by description."""
    gc.collect()  # what nobody holds any more is closed by now
    found = Counter(f"thread {thread.name!r}" for thread in threading.enumerate())
    found.update(f"task {name}" for name in _tasks())
    found.update(f"child process {name}" for name in _children())
    found.update(f"descriptor of {name}" for name in _descriptors())
    return found


def _tasks() -> list[str]:
    tasks = cast("list[asyncio.Task[Any]]", [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Task)])
    return [getattr(task.get_coro(), "__qualname__", repr(task)) for task in tasks if not task.done()]


def _children() -> list[str]:
    found: list[str] = []
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as children:
                for child in children.read().split():
                    with open(f"/proc/{child}/comm", encoding="utf-8", errors="replace") as name:
                        found.append(name.read().strip())
    except OSError:
        pass  # one ended while we looked, or this is no Linux
    return found


def _descriptors() -> list[str]:
    found: list[str] = []
    try:
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{descriptor}")
            except OSError:
                continue  # that of this very listing
            kind = target.partition(":[")[0]
            found.append(f"a {kind}" if kind != target else target)
    except OSError:
        pass  # no Linux
    return found
