"""
What a changed file does: a new process in the same environment, never importlib.reload.

Files are looked at by time and size, without inotify, which runs out of watches on large trees.
A file that does not compile changes nothing: the old process goes on serving.
"""

from __future__ import annotations

import os
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from warmstate.project import why_broken

if TYPE_CHECKING:
    import argparse
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from warmstate.emulator import Emulator, Function

__all__ = ["Watcher"]

INTERVAL = 0.3
"""Seconds between two looks; also how long a burst of changes is waited out."""
IGNORED = frozenset(
    {
        ".git",
        ".hg",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".warmstate",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        "build",
        "dist",
    }
)
FILES_MOST = 5_000


class Watcher:
    """Watches the handler's folder and what --watch names."""

    def __init__(
        self,
        options: argparse.Namespace,
        emulator: Emulator,
        functions: Sequence[Function],
        say: Callable[[str], None],
    ) -> None:
        self.keep = options.reload == "keep"
        """Whether committed state is kept; may be changed at any time."""
        self._root = os.getcwd()
        self._folders = {function.task_root for function in functions}
        self._paths = [*sorted(self._folders), *(os.path.abspath(path) for path in options.watch)]
        self._ignored: list[str] = list(options.ignore)
        recording: str | None = options.record
        if recording is not None:  # it is written with each event
            self._ignored.append(os.path.relpath(recording))
        self._emulator = emulator
        self._functions = functions
        self._say = say
        self._seen = dict(self._look())

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while not stop.wait(INTERVAL):
            now = dict(self._look())
            changed = [path for path in {**now, **self._seen} if now.get(path) != self._seen.get(path)]
            if not changed:
                continue
            while not stop.wait(INTERVAL) and (later := dict(self._look())) != now:
                now = later
            self._seen = now
            self._reload(sorted(changed))

    def _reload(self, changed: list[str]) -> None:
        names = ", ".join(os.path.relpath(path, self._root) for path in changed[:3])
        broken = next((problem for path in changed if (problem := why_broken(path))), None)
        if broken is not None:
            self._say(f"RELOAD   {names} changed and does not compile; the old code goes on serving\n  {broken}")
            return
        begun = time.monotonic()
        found = [
            reloaded
            for function in self._functions
            if self._concerns(function, changed)
            for reloaded in self._emulator.reload(function.name, keep=self.keep)
        ]
        milliseconds = (time.monotonic() - begun) * 1000
        if not found:
            self._say(f"RELOAD   {names} changed; no instance runs, the next event starts one")
        for reloaded in found:
            self._say(f"RELOAD   {names} changed → {reloaded.instance}  {reloaded.summary}  {milliseconds:.0f} ms")

    def _concerns(self, function: Function, changed: list[str]) -> bool:
        """Whether it is in the folder of one of these files, or one is of what --watch names, which is everybody's."""
        others = [path for path in changed if not any(_is_below(path, folder) for folder in self._folders)]
        return bool(others) or any(_is_below(path, function.task_root) for path in changed)

    def _look(self) -> Iterator[tuple[str, tuple[int, int]]]:
        count = 0
        for root in self._paths:
            for folder, folders, files in os.walk(root):
                folders[:] = [name for name in folders if name not in IGNORED and not name.startswith(".")]
                for name in files:
                    if not name.endswith((".py", ".json", ".toml", ".yaml", ".yml")) and root in self._folders:
                        continue
                    path = os.path.join(folder, name)
                    if self._is_ignored(path):
                        continue
                    count += 1
                    if count > FILES_MOST:
                        return
                    try:
                        facts = os.stat(path)
                    except OSError:
                        continue
                    yield path, (facts.st_mtime_ns, facts.st_size)
            if os.path.isfile(root):
                facts = os.stat(root)
                yield root, (facts.st_mtime_ns, facts.st_size)

    def _is_ignored(self, path: str) -> bool:
        inside = os.path.relpath(path, self._root)
        return any(fnmatchcase(inside, glob) or fnmatchcase(os.path.basename(path), glob) for glob in self._ignored)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or os.path.realpath(path).startswith(folder.rstrip("/") + "/")
