"""`warmstate dev` on a terminal: one key each for the verbs, and a terminal that is given back as it was."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time

import pytest

from tests.cli.test_dev import HANDLER
from tests.emulator.conftest import ROOT

pytestmark = pytest.mark.process

PATIENCE = 60


class Terminal:
    """`warmstate dev` with a terminal of its own, as a shell would start it."""

    def __init__(self, folder):
        self.keyboard, inside = pty.openpty()
        self.before = termios.tcgetattr(inside)
        self.inside = inside
        self.seen = ""
        # A shell makes the terminal the session's own; setsid -c does it here.
        command = ["setsid", "-c", "-w", sys.executable, "-m", "warmstate.cli.main", "dev", "-P", "0"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "HOME": str(folder), "TERM": "xterm"}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=inside, stdout=subprocess.DEVNULL, stderr=inside
        )

    def press(self, key):
        os.write(self.keyboard, key.encode())

    def wait_for(self, pattern):
        """Wait until it shows this, after what was waited for before; returns the match."""
        end = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end() :]
                return found
            assert time.monotonic() < end, f"{pattern} not in:\n{self.seen}"
            if select.select([self.keyboard], [], [], 0.2)[0]:
                self.seen += os.read(self.keyboard, 65_536).decode()


@pytest.fixture
def terminal(tmp_path):
    (tmp_path / "app.py").write_text(HANDLER)
    terminal = Terminal(tmp_path)
    yield terminal
    if terminal.process.poll() is None:
        terminal.process.kill()
        terminal.process.wait()
    os.close(terminal.keyboard)
    os.close(terminal.inside)


def test_keys(terminal):
    """Each key does what its verb does, an unknown one nothing; at the end the terminal is as it was."""
    terminal.wait_for("h for the keys, Ctrl-C ends")
    terminal.press("i")
    terminal.wait_for("nothing was invoked yet")
    terminal.press("h")
    terminal.wait_for("f freeze · t thaw · r reset")
    terminal.press("?r")
    terminal.wait_for("RESET")
    terminal.press("s")
    terminal.wait_for(r"i-1 +counter +reset")
    terminal.press("+")
    terminal.wait_for("INIT .*i-")
    terminal.press("m")
    terminal.wait_for("a change now drops all state")
    terminal.press("x")
    terminal.wait_for("DOWN")
    assert terminal.process.wait(PATIENCE) == 0
    assert termios.tcgetattr(terminal.inside) == terminal.before


def test_control_c_in_the_middle_of_an_init(tmp_path):
    """It does not wait for an init that hangs."""
    (tmp_path / "app.py").write_text(f"print('importing', flush=True)\nimport time\ntime.sleep(600)\n{HANDLER}")
    terminal = Terminal(tmp_path)
    try:
        terminal.wait_for("importing")
        terminal.press("\x03")
        assert terminal.process.wait(PATIENCE) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.keyboard)
        os.close(terminal.inside)
