"""
Keys that `warmstate dev` takes on a terminal: the verbs of the lifecycle, one letter each.

Plain scrollback, no screen of its own: the terminal only stops waiting for whole lines, and is given back as it was.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from typing import TYPE_CHECKING

from warmstate.cli.problem import Problem
from warmstate.errors import WarmstateError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from warmstate.cli.reload import Watcher
    from warmstate.emulator import Emulator

__all__ = ["Hotkeys", "has_terminal"]

LOOK = 0.2
"""Seconds between two looks at whether it is time to end."""
CLEAR = "\x1b[2J\x1b[3J\x1b[H"


def has_terminal() -> bool:
    """Whether somebody sits there who can press keys and see what happens."""
    return sys.stdin.isatty() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and _in_front()


def _in_front() -> bool:
    """Whether the terminal is ours: a job in the background that asked for keys would be stopped."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return False


class Hotkeys:
    """What each key does, and the loop that waits for them; from its making on the terminal gives single keys."""

    def __init__(
        self,
        options: argparse.Namespace,
        emulator: Emulator,
        watcher: Watcher | None,
        say: Callable[[str], None],
        end: Callable[[], object],
    ) -> None:
        self._options = options
        self._emulator = emulator
        self._watcher = watcher
        self._say = say
        self.keys: dict[str, tuple[str, Callable[[], object]]] = {
            "i": ("the last event again", self._again),
            "f": ("freeze", emulator.freeze),
            "t": ("thaw", emulator.thaw),
            "r": ("reset", emulator.reset),
            "k": ("kill", emulator.kill),
            "d": ("spin down", emulator.spindown),
            "+": ("one instance more", lambda: self._scale(1)),
            "-": ("one less", lambda: self._scale(-1)),
            "s": ("instances", self._show),
            "m": ("keep or drop state on a change", self._toggle),
            "c": ("clear", lambda: self._say(CLEAR)),
            "h": ("help", lambda: self._say(self.help())),
            "x": ("exit", end),
        }

        self._before = termios.tcgetattr(sys.stdin.fileno())
        tty.setcbreak(sys.stdin.fileno(), termios.TCSANOW)  # from now on, so that no key is lost before `run`

    def help(self) -> str:
        """The keys on one line."""
        return "  " + " · ".join(f"{key} {text}" for key, (text, _) in self.keys.items())

    def run(self, stop: threading.Event) -> None:
        """Take keys until `stop` is set; then the terminal is as it was."""
        terminal = sys.stdin.fileno()
        try:
            while not stop.is_set():
                if not _in_front():
                    stop.wait(LOOK)
                    continue
                if termios.tcgetattr(terminal)[3] & termios.ICANON:  # the shell had it: Ctrl-Z, fg
                    tty.setcbreak(terminal, termios.TCSANOW)
                if select.select([terminal], [], [], LOOK)[0]:
                    pressed = os.read(terminal, 1).decode("ascii", "replace")
                    if not pressed:
                        return
                    self._press(pressed)
        except OSError:
            pass  # the terminal is gone; SIGHUP ends us
        finally:
            self.restore()

    def restore(self) -> None:
        """Give the terminal back as it was."""
        if _in_front():
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._before)

    def _press(self, key: str) -> None:
        _, work = self.keys.get(key, ("", None))
        if work is not None:
            threading.Thread(target=self._do, args=(work,), daemon=True).start()

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (WarmstateError, Problem) as error:
            self._say(f"  {error}")

    def _again(self) -> None:
        from warmstate.cli.client import Client

        self._options.endpoint = self._emulator.url
        Client(self._options, self._options.token).post("/invocations/last/replay")

    def _scale(self, more: int) -> None:
        function = self._emulator.functions[0].name
        self._emulator.scale(max(0, len(self._emulator.ps(function)) + more), function)

    def _show(self) -> None:
        import attrs

        from warmstate.cli.instances import as_table

        self._say(as_table([attrs.asdict(instance) for instance in self._emulator.ps()]) or "  no instances")

    def _toggle(self) -> None:
        if self._watcher is None:
            self._say("  changes are not watched (--reload off)")
            return
        self._watcher.keep = not self._watcher.keep
        self._say(f"  a change now {'keeps committed state' if self._watcher.keep else 'drops all state'}")
