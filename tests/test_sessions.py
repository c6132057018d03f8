"""
The sessions that the documents show, run as they stand by a new user: an empty folder, a built wheel, nothing else.

Every command prints what is shown under it, but for numbers; where only answers are shown, only they are compared.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    "README.md": (r"\A", "## What survives what"),
    "docs/tutorial.md": (r"\A", "## The same as a test"),
    "docs/command-line.md": ("## A first session", "## Verbs"),
}
"""Where the session of each begins and ends."""
DEPENDENCIES = ("attr", "attrs", "h11", "requests", "urllib3", "idna", "certifi", "charset_normalizer", "diskcache")

pytestmark = pytest.mark.process


@pytest.fixture(scope="session", name="installed")
def _installed(tmp_path_factory) -> Path:
    """The commands of a virtual environment with the built wheel; its dependencies are those of the running tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*build, "--wheel-dir", folder, ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wheel = next(folder.glob("warmstate-*.whl"))
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    site = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True, check=True
    )
    for name in DEPENDENCIES:
        (Path(site.stdout.strip()) / name).symlink_to(Path(__import__(name).__file__).parent)
    return folder / "venv" / "bin"


def session(document: str) -> tuple[str, list[tuple[str, list[str]]]]:
    """The handler of a document's session, and each command with the lines shown under it."""
    begin, end = DOCUMENTS[document]
    text = re.split(begin, (ROOT / document).read_text(), maxsplit=1)[1].split(end)[0]
    handler = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert handler
    steps: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:].removesuffix(" &"), []))
            else:
                steps[-1][1].append(line)
    return handler[1], [step for step in steps if not step[0].startswith("pip ")]


def told(lines: list[str]) -> list[str]:
    """What lines say apart from their numbers; of an answer, everything but its request id and the folder."""
    masked = []
    for line in lines:
        if line.startswith("{"):
            nameless = re.sub(r'"requestId": "[0-9a-f-]{36}"', '"requestId": ""', line)
            masked.append(re.sub(r'\\"/[^"]*/app\.py', r'\\"app.py', nameless))
        else:
            numberless = re.sub(r"(i-\d+)|(\d+m)?[\d.]+s?", r"\1", line)
            masked.append(" ".join(numberless.replace(" KB ", " B ").split()))
    return masked


class Dev:
    """`warmstate dev`, as the other terminal has it."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self._log = folder / "dev.log"
        words = shlex.split(command)
        program = [f"{environment['PATH'].partition(':')[0]}/{words[0]}", *words[1:], "-P", "0"]
        with self._log.open("w") as file:
            self._process = subprocess.Popen(program, cwd=folder, env=environment, stderr=file)
        self.wait_for("Ctrl-C ends")

    def wait_for(self, text: str, times: int = 1) -> list[str]:
        """The lines that it has written, once they have `text` so many times."""
        end = time.monotonic() + 60
        while self._log.read_text().count(text) < times:
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.05)
        return self._log.read_text().splitlines()

    def end(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_prints_what_is_shown(document, installed, tmp_path) -> None:
    """From the first event to the last, in order, on one emulator."""
    handler, steps = session(document)
    (tmp_path / "app.py").write_text(handler)
    environment = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(tmp_path)}
    dev, edits, compared = None, 0, 0
    try:
        for command, shown in steps:
            if command.startswith("warmstate dev"):
                dev = Dev(command, tmp_path, environment)
                # Where each environment cannot have a /tmp of its own, one more line says so.
                said = [line for line in dev.wait_for("Ctrl-C ends") if not line.startswith("  /tmp")]
            else:
                done = subprocess.run(
                    ["/bin/sh", "-c", command],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert ("errorType" in done.stdout) == bool(done.returncode), done.stderr
                shows_all = any("billed" in line for line in shown)
                said = (done.stdout + done.stderr * shows_all).splitlines()
            if command.startswith("sed "):
                assert dev
                edits += 1
                dev.wait_for("RELOAD", edits)
            if shown:
                compared += 1
                assert told(shown) == told(said), command
    finally:
        if dev is not None:
            dev.end()
    assert compared >= 3
