"""Stand-ins that tests of warm state share: a clock moved by hand, a log that remembers, files that fail on demand."""

from __future__ import annotations

import os

from warmstate.lifecycle.clock import Clock
from warmstate.lifecycle.notices import Notices
from warmstate.warm.spill.files import Files


class MovedClock(Clock):
    """Both clocks, moved apart or together."""

    def __init__(self):
        self.walls = 1_700_000_000.0
        self.monos = 1_000.0

    def wall(self):
        return self.walls

    def monotonic(self):
        return self.monos

    def pass_time(self, seconds):
        self.walls += seconds
        self.monos += seconds

    def jump(self, seconds):
        """Move the wall clock alone, as a paused machine or a correction does."""
        self.walls += seconds


class Heard(Notices):
    """Keeps every notice."""

    def __init__(self):
        self.lines = []

    def info(self, message, **fields):
        self.lines.append(("info", message))

    def warning(self, message, **fields):
        self.lines.append(("warning", message))

    def error(self, message, **fields):
        self.lines.append(("error", message))

    def once(self, key, message, **fields):
        self.lines.append((key, message))


class FailingFiles(Files):
    """
    The real file system, whose calls fail as told.

    `fail_at` is the number of the call that fails (from 1), `fail_every` fails each n-th, `names` limits both to some calls.
    `full` makes statvfs say that nothing is free.
    """

    def __init__(self, error=None, *, fail_at=None, fail_every=None, names=()):
        self.error = error
        self.fail_at = fail_at
        self.fail_every = fail_every
        self.names = names
        self.calls = 0
        self.full = False

    def _count(self, name):
        if self.names and name not in self.names:
            return
        self.calls += 1
        if self.error is None:
            return
        if self.calls == self.fail_at or (self.fail_every and self.calls % self.fail_every == 0):
            raise OSError(self.error, os.strerror(self.error))

    def open(self, path, flags, mode=0o600):
        self._count("open")
        return super().open(path, flags, mode)

    def fstat(self, fd):
        self._count("fstat")
        return super().fstat(fd)

    def stat(self, path):
        self._count("stat")
        return super().stat(path)

    def statvfs(self, path):
        self._count("statvfs")
        found = super().statvfs(path)
        if self.full:
            found = os.statvfs_result((*found[:3], 0, 0, *found[5:]))
        return found

    def pread(self, fd, length, offset):
        self._count("pread")
        return super().pread(fd, length, offset)

    def pwritev(self, fd, parts, offset):
        self._count("pwritev")
        return super().pwritev(fd, parts, offset)

    def mkdir(self, path, mode):
        self._count("mkdir")
        super().mkdir(path, mode)

    def unlink(self, path):
        self._count("unlink")
        super().unlink(path)
