"""Each environment has files of its own."""

import sys
from pathlib import Path

import pytest

from tests.emulator.conftest import CLIENTS
from warmstate.emulator import Emulator, Function

pytestmark = pytest.mark.process

FILES = """
import http.client, json, os
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def attempt(work):
    try: return work()
    except OSError as error: return type(error).__name__ + str(error.errno)
def fill():
    with open("/tmp/fill", "wb") as file: file.write(b"x" * (3 << 20))
while True:
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = connection.getresponse(); event = json.loads(answer.read())
    facts = {
        "listing": sorted(os.listdir("/tmp")),
        "cwd": os.getcwd() == os.environ["LAMBDA_TASK_ROOT"],
        "write code": attempt(lambda: open("written.py", "w").close()),
        "write tmp": attempt(lambda: open("/tmp/" + event["name"], "w").close()),
        "write shared": attempt(lambda: open(os.environ["BUCKET"] + "/photo", "w").close()),
        "fill": attempt(fill) if event.get("fill") else None,
    }
    connection.request("POST", "/2018-06-01/runtime/invocation/" + answer.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", json.dumps(facts))
    connection.getresponse().read()
"""


@pytest.fixture
def files(emulator, make, tmp_path):
    """A function over a task root and a bucket that both lie below the host's /tmp."""
    if emulator.isolation is not None:
        pytest.skip(f"no mount namespaces here: {emulator.isolation}")
    root, bucket = tmp_path / "task", tmp_path / "bucket"
    root.mkdir()
    bucket.mkdir()
    runtime = [sys.executable, "-c", FILES]
    emulator.add(
        Function(
            name="files",
            handler="x",
            task_root=str(root),
            runtime=runtime,
            environment={"BUCKET": str(bucket)},
            tmp_mb=2,
        )
    )
    yield root, bucket
    emulator.remove("files")


def test_tmp_is_private_and_the_code_is_read_only(emulator, files):
    """/tmp is a file system of the environment's own, the task root cannot be written, a named folder can."""
    root, bucket = files
    seen = emulator.invoke("files", {"name": "mine"}).json()

    assert seen["cwd"]
    assert seen["write code"] == "OSError30"
    assert seen["write tmp"] is None
    assert (bucket / "photo").exists()
    assert list(root.iterdir()) == []


def test_two_environments_do_not_see_each_others_tmp(emulator, files):
    """What one environment writes to /tmp, another does not find."""
    emulator.scale(2, "files")
    first, second = (instance.instance for instance in emulator.ps("files"))
    emulator.invoke("files", {"name": "mine"}, instance=first)

    assert "mine" in emulator.invoke("files", {"name": "x"}, instance=first).json()["listing"]
    assert "mine" not in emulator.invoke("files", {"name": "x"}, instance=second).json()["listing"]


def test_tmp_is_full_at_its_size(emulator, files):
    """Over its size, writing to /tmp fails with ENOSPC, as on Lambda."""
    seen = emulator.invoke("files", {"name": "a", "fill": True}).json()

    assert seen["fill"] == "OSError28"
    assert emulator.ps("files")[0].tmp_bytes == 2 << 20


def test_without_namespaces_a_private_folder_serves(tmp_path):
    """Where nothing can be mounted, each environment has a folder that TMPDIR and WARMSTATE_TMP name."""
    path = str(CLIENTS / "plain.py")
    with Emulator(isolate=False) as emulator:
        emulator.add(Function(name="plain", handler="x", task_root=str(tmp_path), runtime=[sys.executable, path]))
        first = emulator.invoke("plain", {"write": "mark", "environment": True}).json()
        folder = first["environment"]["WARMSTATE_TMP"]
        assert first["environment"]["TMPDIR"] == folder == emulator.ps()[0].tmp
        assert Path(folder, "mark").exists()
        emulator.spindown()
        assert not Path(folder).exists()


OPEN = """
import http.client, os, sys
path = os.environ["WARMSTATE_TMP"] + "/gone"
kept = open(path, "wb")
kept.write(b"x" * (3 << 20)); kept.flush()
os.link(path, path + "-too")
with open(path + "-alone", "wb") as file: file.write(b"y" * (1 << 20))
os.unlink(path); os.unlink(path + "-too")
os.link(path + "-alone", path + "-again")
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = connection.getresponse(); answer.read()
    path = "/2018-06-01/runtime/invocation/" + answer.headers["Lambda-Runtime-Aws-Request-Id"] + "/response"
    connection.request("POST", path, "1")
    connection.getresponse().read()
"""


@pytest.mark.parametrize("isolate", [True, False])
def test_tmp_is_measured_as_the_kernel_does(isolate):
    """Deleted files that are still open take their room, and a file with two names takes it once."""
    function = Function(
        name="open", handler="x", task_root=str(CLIENTS), runtime=[sys.executable, "-c", OPEN], tmp_mb=8
    )
    with Emulator(isolate=isolate, functions=[function]) as emulator:
        emulator.invoke("open", {})
        instance = emulator.ps()[0]
        assert 4 << 20 <= instance.tmp_bytes < 4.5 * (1 << 20)
        assert instance.tmp_limit == 8 << 20
        emulator.reset()
        assert 1 << 20 <= emulator.ps()[0].tmp_bytes < 1.5 * (1 << 20)
