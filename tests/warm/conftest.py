"""Handlers, clocks and faulty file systems for the tests of what stays warm."""

from __future__ import annotations

import pytest

from warmstate.lifecycle.clock import Clock
from warmstate.lifecycle.notices import Notices
from warmstate.warm.spill.files import Files


class HandClock(Clock):
    """Both clocks, moved by hand."""

    __slots__ = ("seconds", "wall_jump")

    def __init__(self):
        self.seconds = 1000.0
        self.wall_jump = 1_700_000_000.0

    def wall(self):
        return self.wall_jump + self.seconds

    def monotonic(self):
        return self.seconds


class Heard(Notices):
    """Keeps what was said."""

    __slots__ = ("said",)

    def __init__(self):
        self.said = []

    def warning(self, message, **fields):
        self.said.append(message)

    error = info = warning

    def once(self, key, message, **fields):
        self.said.append(message)


class FailingFiles(Files):
    """Fails the n-th call, or every call of one name, with an errno."""

    __slots__ = ("always", "calls", "errno", "fail_at")

    def __init__(self, fail_at=-1, errno=5):
        self.calls = 0
        self.fail_at = fail_at
        self.errno = errno
        self.always = ()

    def _count(self, name):
        self.calls += 1
        if self.calls == self.fail_at or name in self.always:
            raise OSError(self.errno, "injected")


def _counted(name):
    original = getattr(Files, name)

    def call(self, *arguments, **options):
        self._count(name)
        return original(self, *arguments, **options)

    return call


for _name in ("open", "close", "stat", "fstat", "pread", "pwritev", "allocate", "rename", "unlink", "mkdir"):
    setattr(FailingFiles, _name, _counted(_name))


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def heard():
    return Heard()
