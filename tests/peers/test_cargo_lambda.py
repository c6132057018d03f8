"""
warmstate's bootstrap on the Runtime API of cargo-lambda's watch server: a second implementation, with habits of its own.

It serves each function below a path (`/.rt/NAME`), sends chunk-free HTTP from another stack, and gives deadlines that are not times.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.peer_programs import Unavailable, cargo_lambda
from tests.peers.serving import free_port, post, running
from tests.readme import first_handler

pytestmark = [pytest.mark.peer, pytest.mark.process]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def watch_program() -> Path:
    try:
        return cargo_lambda()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("scheme", ["", "http://"], ids=["plain", "with-scheme"])
def test_the_handler_of_the_readme_answers_below_a_path(watch_program, tmp_path, scheme) -> None:
    """A Runtime API below a path, also written with its scheme, serves the README's handler cold, then warm."""
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "function"\nversion = "0.1.0"\n')
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.rs").write_text("fn main() {}\n")
    (tmp_path / "app.py").write_text(first_handler())
    port = free_port()
    command = [
        watch_program,
        "lambda",
        "watch",
        "--only-lambda-apis",
        "--invoke-address",
        "127.0.0.1",
        "--invoke-port",
        str(port),
    ]
    environment = {
        **os.environ,
        "AWS_LAMBDA_RUNTIME_API": f"{scheme}127.0.0.1:{port}/.rt/function",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "LAMBDA_TASK_ROOT": str(tmp_path),
        "WARMSTATE_TMP": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "_HANDLER": "app.Counter",
    }
    with running(command, environment={}, log=tmp_path / "log", port=port, cwd=tmp_path):
        with (tmp_path / "runtime.log").open("wb") as log:
            runtime = subprocess.Popen([ROOT / "bootstrap"], env=environment, cwd=tmp_path, stdout=log, stderr=log)
        try:
            answers = [post(f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations", {}) for _ in range(3)]
        finally:
            runtime.kill()
            runtime.wait()

    expected = [(200, {"seen": seen, "start": start}) for seen, start in [(1, "cold"), (2, "warm"), (3, "warm")]]
    assert expected == answers, (tmp_path / "runtime.log").read_text()
