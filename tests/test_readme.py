"""The README's first handler on `warmstate dev`, called with boto3 as any client would."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import boto3
import pytest
from botocore.config import Config

from tests.readme import README, first_handler

ROOT = README.parent


def test_every_promise_names_a_test_that_is_there() -> None:
    """Each link of the promises leads to a test of that name, and each test of the promises is linked."""
    links = re.findall(r'\]\((tests/\S+) "(test_\w+)"\)', README.read_text())
    promises = re.findall(
        r"^def (test_\w+)", (ROOT / "tests" / "promises" / "test_promises.py").read_text(), re.MULTILINE
    )

    assert [] == [link for link in links if f"def {link[1]}(" not in (ROOT / link[0]).read_text()]
    assert set(promises) == {name for _, name in links}


@pytest.mark.process
def test_the_readme_handler_tells_its_starts(tmp_path) -> None:
    """Cold, then thawed after more than a second, then reset with its count kept: as it happened."""
    (tmp_path / "app.py").write_text(first_handler())
    log = tmp_path / "dev.log"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "warmstate.cli.main"]
    with log.open("w") as file:
        dev = subprocess.Popen(
            [*command, "dev", "app.Counter", "-P", "0"], cwd=tmp_path, env=environment, stdout=file, stderr=file
        )
    try:
        for _ in range(1200):
            if "Ctrl-C ends" in log.read_text():
                break
            assert dev.poll() is None, log.read_text()
            time.sleep(0.05)
        url = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        assert url, log.read_text()
        client = boto3.client(
            "lambda",
            endpoint_url=url[0],
            region_name="us-east-1",
            aws_access_key_id="none",
            aws_secret_access_key="none",
            config=Config(retries={"total_max_attempts": 1}),
        )

        def invoke():
            return json.load(client.invoke(FunctionName="counter", Payload=b"{}")["Payload"])

        cold = invoke()
        time.sleep(1.6)  # frozen since its answer, for longer than the threshold
        thawed = invoke()
        subprocess.run([*command, "reset", "--all"], cwd=tmp_path, env=environment, check=True, capture_output=True)
        reset = invoke()
        client.close()
    finally:
        dev.send_signal(signal.SIGINT)
        dev.wait(60)

    assert [
        {"seen": 1, "start": "cold"},
        {"seen": 2, "start": "thaw"},
        {"seen": 3, "start": "reset"},
    ] == [cold, thawed, reset]
