"""The first session of docs/command-line.md, run as a new user would: an empty folder, a built wheel, nothing else."""

import re
import shlex
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from tests.emulator.conftest import ROOT

pytestmark = pytest.mark.process

DOCUMENT = Path(ROOT, "docs", "command-line.md")


def session():
    """The handler, and each command of the section with the output that the document shows."""
    text = DOCUMENT.read_text().split("## A first session")[1].split("\n## ")[0]
    handler = re.search(r"```python\n# app\.py\n(.*?)```", text, re.DOTALL)[1]
    steps = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return handler, steps


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A virtual environment with the built wheel; dependencies come from the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        ROOT,
    ]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wheel = next(folder.glob("warmstate-*.whl"))
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    site = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True, check=True
    )
    for name in ("attr", "attrs", "h11", "requests", "urllib3", "idna", "certifi", "charset_normalizer", "diskcache"):
        package = Path(__import__(name).__file__).parent
        (Path(site.stdout.strip()) / name).symlink_to(package)
    return folder / "venv" / "bin"


def test_first_session(installed, tmp_path):
    """Every command of the document's first session does what the document shows."""
    handler, steps = session()
    (tmp_path / "app.py").write_text(handler)
    environment = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(tmp_path)}
    log = tmp_path.parent / "dev.log"
    dev, reloads, compared = None, 0, 0

    def wait_for(text, times=1):
        end = time.monotonic() + 60
        while log.read_text().count(text) < times:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)

    # The ids of instances go on counting: i-1 of the document is the instance that is there.
    try:
        for command, expected in steps:
            if command.startswith("pip install"):
                continue
            if command.endswith("&"):
                # Any free port, and no thaw but the asked-for one, however slow this machine is between two commands.
                words = [*shlex.split(command[:-1]), "-P", "0", "--env-var", "WARMSTATE_THAW_AFTER=600"]
                with log.open("w") as file:
                    dev = subprocess.Popen(
                        [str(installed / words[0]), *words[1:]], cwd=tmp_path, env=environment, stderr=file
                    )
                wait_for("Ctrl-C ends")
                continue
            done = subprocess.run(
                ["/bin/sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            if command.startswith("sed"):
                reloads += 1
                wait_for("RELOAD", reloads)
            if expected:
                compared += 1
                assert done.stdout.splitlines() == expected, command
    finally:
        if dev is not None:
            dev.send_signal(signal.SIGINT)
            dev.wait(30)
    assert compared >= 6
