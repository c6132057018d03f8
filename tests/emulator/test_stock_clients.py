"""Clients that others wrote run on the emulator unchanged, frozen and thawed: AWS's for Python and Node, and curl."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from tests.emulator.conftest import ROOT
from warmstate.emulator.processes import family

pytestmark = [pytest.mark.process, pytest.mark.peer]

PYTHON_HANDLER = """
count = 0
def handler(event, context):
    global count
    count += 1
    return {"count": count, "request": context.aws_request_id, "left": context.get_remaining_time_in_millis() > 0, "echo": event}
"""

NODE_HANDLER = """
let count = 0;
exports.handler = async (event, context) => {
  count += 1;
  return {count, request: context.awsRequestId, left: context.getRemainingTimeInMillis() > 0, echo: event};
};
"""

SHELL = """#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
count=0
while :; do
  head=$(mktemp)
  event=$(curl -sS -D "$head" "$api/next") || exit 1
  id=$(tr -d '\\r' < "$head" | sed -n 's/^[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: //p')
  rm -f "$head"
  count=$((count + 1))
  curl -sS -X POST "$api/$id/response" -d "{\\"count\\": $count, \\"request\\": \\"$id\\", \\"left\\": true, \\"echo\\": $event}" > "$WARMSTATE_TMP/answer"
done
"""


def check(emulator, name):
    """Two invocations with a freeze between them reach the same process."""
    first = emulator.invoke(name, {"n": 1})
    assert first.function_error is None, first.payload
    instance = emulator.freeze(emulator.ps(name)[0].instance)[0]
    assert family.state(instance.pid) == "T"
    second = emulator.invoke(name, {"n": 2})

    assert (first.json()["count"], second.json()["count"]) == (1, 2)
    assert second.json()["echo"] == {"n": 2}
    assert second.json()["request"] == second.request_id
    assert second.json()["left"] is True


@pytest.fixture(scope="session")
def stock_python(tmp_path_factory):
    """An interpreter with AWS's runtime client for Python."""
    folder = tmp_path_factory.mktemp("awslambdaric")
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "awslambdaric==4.2.2"]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("awslambdaric cannot be installed here")
    return python


def test_python_client(emulator, make, stock_python, tmp_path):
    """awslambdaric, one invocation at a time."""
    (tmp_path / "app.py").write_text(PYTHON_HANDLER)
    make(
        "stock",
        runtime=[stock_python, "-m", "awslambdaric", "app.handler"],
        share=[str(tmp_path), prefix(stock_python)],
        environment={"PYTHONPATH": str(tmp_path)},
        execution_env="AWS_Lambda_python3.13",
    )
    check(emulator, "stock")


def test_python_client_on_managed_instances(emulator, make, stock_python, tmp_path):
    """awslambdaric in its concurrent mode: several processes, one environment."""
    from concurrent.futures import ThreadPoolExecutor

    (tmp_path / "app.py").write_text(PYTHON_HANDLER.replace("count += 1", "count += 1; import time; time.sleep(0.3)"))
    make(
        "stock",
        runtime=[stock_python, "-m", "awslambdaric", "app.handler"],
        share=[str(tmp_path), prefix(stock_python)],
        environment={"PYTHONPATH": str(tmp_path)},
        execution_env="AWS_Lambda_python3.13",
        max_concurrency=2,
        max_instances=1,
    )
    with ThreadPoolExecutor(2) as executor:
        found = list(executor.map(lambda number: emulator.invoke("stock", {"n": number}), range(2)))

    assert [answer.json()["echo"] for answer in found] == [{"n": 0}, {"n": 1}]
    assert [answer.json()["request"] for answer in found] == [answer.request_id for answer in found]


@pytest.fixture(scope="session")
def stock_node():
    """AWS's runtime client for Node; its native part is built from sources in two minutes, once per checkout."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("there is no Node here")
    folder = Path(ROOT, ".cache", "peers", "aws-lambda-ric-4.0.2")
    client = folder / "node_modules" / "aws-lambda-ric"
    if not (client / "rapid-client.node").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--foreground-scripts", "aws-lambda-ric@4.0.2"]
        environment = {**os.environ, **({"npm_config_nodedir": "/usr"} if Path("/usr/include/node").is_dir() else {})}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if not (client / "rapid-client.node").exists():
            pytest.skip(f"aws-lambda-ric cannot be built here: {done.stderr[-300:]}")
    return [node, str(client / "index.mjs")]


@pytest.mark.timeout(1200)
def test_node_client(emulator, make, stock_node, tmp_path):
    """aws-lambda-ric for Node, with its native client."""
    (tmp_path / "app.js").write_text(NODE_HANDLER)
    make("node", runtime=stock_node, handler="app.handler", task_root=tmp_path)
    check(emulator, "node")


def test_shell_loop(emulator, make, tmp_path):
    """Twenty lines of shell around curl."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    path = tmp_path / "bootstrap"
    path.write_text(SHELL)
    make("shell", runtime=["/bin/sh", str(path)], share=[str(path)])
    check(emulator, "shell")


def prefix(python):
    """The folder of a virtual environment."""
    return str(Path(python).parent.parent)
