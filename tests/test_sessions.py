"""The sessions of the README and the tutorial, run as they stand: every command prints what is shown, but for numbers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def session(text: str) -> list[tuple[str, list[str]]]:
    """Each command with the lines under it."""
    steps: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return steps


def told(lines: list[str]) -> list[str]:
    """What a line says apart from its numbers; of an answer, everything but its request id and the folder."""
    masked = []
    for line in lines:
        if line.startswith("{"):
            nameless = re.sub(r'"requestId": "[0-9a-f-]{36}"', '"requestId": ""', line)
            masked.append(re.sub(r'\\"/[^"]*/app\.py', r'\\"app.py', nameless))
        else:
            numberless = re.sub(r"(i-\d+)|(\d+m)?[\d.]+s?", r"\1", line)
            masked.append(" ".join(numberless.replace(" KB ", " B ").split()))
    return masked


@pytest.mark.process
@pytest.mark.parametrize("document", ["README.md", "docs/tutorial.md"])
def test_every_command_prints_what_is_shown(document, tmp_path) -> None:
    """From the first event to the last, in order, on one emulator; where only answers are shown, only they are compared."""
    text = (ROOT / document).read_text()
    handler = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert handler
    (tmp_path / "app.py").write_text(handler[1])
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "warmstate"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m warmstate.cli.main "$@"\n')
    command.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    log = tmp_path / "dev.log"
    dev = None
    try:
        for line, shown in session(text):
            if line.startswith(("pip ", "make ")):
                continue
            if line.startswith("warmstate dev"):
                with log.open("w") as file:
                    dev = subprocess.Popen(
                        ["/bin/sh", "-c", f"exec {line} -P 0"], cwd=tmp_path, env=environment, stderr=file
                    )
                end = time.monotonic() + 60
                while "Ctrl-C ends" not in log.read_text():
                    assert dev.poll() is None, log.read_text()
                    assert time.monotonic() < end, log.read_text()
                    time.sleep(0.05)
                # Where each environment cannot have a /tmp of its own, one more line says so.
                said = [line for line in log.read_text().splitlines() if not line.startswith("  /tmp")] if shown else []
            else:
                done = subprocess.run(
                    ["/bin/sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
                )
                assert ("errorType" in done.stdout) == bool(done.returncode), done.stderr
                shows_all = any("billed" in line for line in shown)
                said = (done.stdout + done.stderr * shows_all).splitlines()
            assert told(shown) == told(said), line
    finally:
        if dev is not None:
            dev.send_signal(signal.SIGINT)
            dev.wait(60)
