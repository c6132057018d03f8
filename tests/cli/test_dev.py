"""`warmstate dev`, as a new user meets it: ten lines of handler, edits that keep state, Ctrl-C that leaves nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.emulator.conftest import ROOT
from warmstate.emulator.processes import family

pytestmark = pytest.mark.process

HANDLER = """
from warmstate import State, StatefulHandler, state

class Counter(StatefulHandler):
    count: State[int] = state(default=0, survives="reset")
    seen: State[int] = state(default=0)

    def handle(self, event, context):
        self.count += 1
        self.seen += 1
        return {"count": self.count, "seen": self.seen, "start": context.start, "version": 1}
"""


class Session:
    """A running `warmstate dev` in a folder, and commands beside it."""

    def __init__(self, folder, *options):
        self.folder = folder
        ours = {name: value for name, value in os.environ.items() if name.startswith("WARMSTATE_DEV")}
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "HOME": str(folder), **ours}
        self.log = folder / "dev.log"
        handlers = [] if {"other.Second", "-t"} & set(options) else ["app.Counter"]
        command = [sys.executable, "-m", "warmstate.cli.main", "dev", *handlers, "-P", "0", *options]
        with self.log.open("w") as file:
            self.process = subprocess.Popen(command, cwd=folder, env=self.environment, stderr=file, stdout=file)
        self.wait_for("Ctrl-C ends")

    def wait_for(self, text, times=1):
        """Wait until the log has `text`."""
        end = time.monotonic() + 60
        while self.log.read_text().count(text) < times:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, f"{text} not in:\n{self.log.read_text()}"
            time.sleep(0.02)

    def __call__(self, *arguments):
        """Run a command; returns its JSON."""
        command = [sys.executable, "-m", "warmstate.cli.main", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def end(self):
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path):
    """Start sessions that end with the test."""
    (tmp_path / "app.py").write_text(HANDLER)
    sessions = []

    def begin(*options):
        sessions.append(Session(tmp_path, *options))
        return sessions[-1]

    yield begin
    for session in sessions:
        if session.process.poll() is None:
            session.process.kill()
            session.process.wait()


def test_reload_keeps_committed_state(start, tmp_path):
    """An edit starts a new process; committed slots are kept, memory slots are lost, and it says so."""
    dev = start()
    assert [dev("invoke")["count"] for _ in range(2)] == [1, 2]

    (tmp_path / "app.py").write_text(HANDLER.replace('"version": 1', '"version": 22'))
    dev.wait_for("RELOAD")
    after = dev("invoke")
    assert (after["count"], after["seen"], after["version"]) == (3, 1, 22)
    assert "kept count · lost seen" in dev.log.read_text()


def test_fresh_reload_drops_everything(start, tmp_path):
    """With --reload fresh an edit begins from nothing, as a deployment does."""
    dev = start("--reload", "fresh")
    dev("invoke")
    (tmp_path / "app.py").write_text(HANDLER.replace('"version": 1', '"version": 22'))
    dev.wait_for("RELOAD")
    assert dev("invoke") == {"count": 1, "seen": 1, "start": "cold", "version": 22}


def test_syntax_error_keeps_the_old_code(start, tmp_path):
    """A file that does not compile changes nothing; mended, it is taken."""
    dev = start()
    dev("invoke")
    (tmp_path / "app.py").write_text(HANDLER + "def broken(:\n")
    dev.wait_for("does not compile")
    assert dev("invoke")["count"] == 2
    (tmp_path / "app.py").write_text(HANDLER.replace('"version": 1', '"version": 22'))
    dev.wait_for("kept count")
    assert dev("invoke")["version"] == 22


def test_broken_handler_shows_before_the_first_event(start, tmp_path):
    """An instance is initialized when dev starts, so an import error is seen at once; mended, it works."""
    (tmp_path / "app.py").write_text("import does_not_exist\n")
    dev = start()
    dev.wait_for("does_not_exist")
    (tmp_path / "app.py").write_text(HANDLER)
    dev.wait_for("RELOAD")
    assert dev("invoke")["count"] == 1


def test_several_functions_and_variables(start, tmp_path):
    """dev serves several handlers, with SAM's file of variables, and starts nothing early when told to wait."""
    body = "import os\ndef Second(event, context):\n    return os.environ['COLOUR'] + os.environ['SIZE']\n"
    (tmp_path / "other.py").write_text(body)
    (tmp_path / "vars.json").write_text('{"Parameters": {"COLOUR": "red", "SIZE": "s"}, "second": {"SIZE": "l"}}')
    dev = start("app.Counter", "other.Second", "-w", "-n", "vars.json")
    assert "INIT" not in dev.log.read_text()
    assert dev("invoke", "second") == "redl"
    assert dev("invoke", "counter")["count"] == 1


TEMPLATE = """
Resources:
  First: {Type: AWS::Serverless::Function, Properties: {CodeUri: first/, Handler: app.Counter}}
  Second: {Type: AWS::Serverless::Function, Properties: {CodeUri: second/, Handler: app.Counter}}
"""


def test_a_change_is_for_the_function_that_it_is_in(start, tmp_path):
    """Of a template's functions, each in a folder of its own, the others run on."""
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text(HANDLER)
    dev = start("-t", "template.yaml", "--record", "sent.json")
    assert [dev("invoke", name)["seen"] for name in ("First", "Second", "First")] == [1, 1, 2]
    (tmp_path / "first" / "app.py").write_text(HANDLER.replace('"version": 1', '"version": 22'))
    dev.wait_for("RELOAD   first/app.py changed → i-1")
    assert (dev("invoke", "First")["version"], dev("invoke", "Second")["seen"]) == (22, 2)
    assert dev.log.read_text().count("RELOAD") == 1


def test_verbs_of_the_lifecycle(start):
    """Frozen for twenty minutes, reset, shut down: the handler knows what happened to it."""
    dev = start()
    assert dev("invoke")["start"] == "cold"
    dev("freeze", "--all", "--minutes", "20", "--json")
    assert dev("invoke")["start"] == "thaw"
    dev("reset", "--all", "--json")
    assert dev("invoke") == {"count": 3, "seen": 1, "start": "reset", "version": 1}
    assert dev("state", "--json")["slots"]["count"]["survives"] == "reset"
    dev("spindown", "--all", "--json")
    assert dev("invoke")["count"] == 1


def test_interrupt_leaves_nothing(start, tmp_path):
    """Ctrl-C spins instances down, exits with 0, and takes its endpoint file back."""
    dev = start()
    dev("invoke")
    pid = dev("ps", "--json")["pid"]
    assert dev.end() == 0
    assert family.state(pid) == ""
    assert not (tmp_path / ".warmstate" / "endpoint.json").exists()
    assert "DOWN" in dev.log.read_text()


def test_killed_emulator_is_told_from_one_that_does_not_answer(start, tmp_path):
    """After a kill -9 its word stays behind: a verb says whose it was, and how to start another, which then is found."""
    dev = start()
    os.kill(dev.process.pid, signal.SIGKILL)
    dev.process.wait()
    command = [sys.executable, "-m", "warmstate.cli.main", "ps"]
    done = subprocess.run(command, cwd=tmp_path, env=dev.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error[WS301]: no emulator runs here\n  " + str(tmp_path))
    assert f"process {dev.process.pid}" in done.stderr
    assert "fix   start one with: warmstate dev" in done.stderr
    assert start()("invoke")["count"] == 1


def test_a_second_emulator_leaves_the_word_of_the_first(start, tmp_path):
    """What was begun with the first goes on there, and its word stays when the second ends; then another may have it."""
    first, second = start(), start()
    word = tmp_path / ".warmstate" / "endpoint.json"
    assert json.loads(word.read_text())["pid"] == first.process.pid
    assert "this one by --endpoint http" in second.log.read_text()
    assert second.end() == 0
    assert first("invoke")["count"] == 1
    assert first.end() == 0
    assert not word.exists()


def test_endpoint_file_is_private(start, tmp_path):
    """The file that names the emulator, and its token, can be read by its owner alone."""
    start("--token", "secret")
    mode = (tmp_path / ".warmstate" / "endpoint.json").stat().st_mode
    assert mode & 0o777 == 0o600


def test_taken_port(start, tmp_path):
    """A taken port is stepped over, or with --strict-port exit 3."""
    dev = start()
    port = dev("env", "--json")["variables"]["AWS_ENDPOINT_URL_LAMBDA"].rpartition(":")[2]
    command = [sys.executable, "-m", "warmstate.cli.main", "dev", "app.Counter", "-P", port, "--strict-port"]
    done = subprocess.run(command, cwd=tmp_path, env=dev.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "error[WS302]" in done.stderr


def test_only_the_apis(start, tmp_path):
    """--only-lambda-apis starts nothing; a process with the variables that are shown is the function."""
    dev = start("--only-lambda-apis")
    shown = re.search(
        r"runtime  AWS_LAMBDA_RUNTIME_API=(\S+) _HANDLER=(\S+) LAMBDA_TASK_ROOT=(\S+)", dev.log.read_text()
    )
    variables = {"AWS_LAMBDA_RUNTIME_API": shown[1], "_HANDLER": shown[2], "LAMBDA_TASK_ROOT": shown[3]}
    variables["WARMSTATE_TMP"] = str(tmp_path)
    command = [sys.executable, "-c", "from warmstate.hosts.runtime import main; main()"]
    environment = {**dev.environment, **variables}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        assert [dev("invoke")["count"] for _ in range(2)] == [1, 2]
        process.terminate()
    assert "INIT " not in dev.log.read_text()


@pytest.mark.parametrize(
    "options",
    [
        ["-A", "0.0.0.0"],
        ["--env-var", "NOVALUE"],
        ["--memory", "0"],
        ["--timeout", "nan"],
        ["--timeout", "inf"],
        ["--provisioned", "-1"],
        ["--provisioned", "11"],
        ["-P", "65536"],
        ["-P", "-1"],
        ["--env-var", "TZ=x"],
    ],
)
def test_bad_options(start, tmp_path, options):
    """What cannot be is refused with exit 2 and a reason, before anything starts."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT}
    command = [sys.executable, "-m", "warmstate.cli.main", "dev", "app.Counter", "-P", "0", *options]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error[WS2")


def test_chaos_and_a_recording(start, tmp_path):
    """The seed is told; each event is a line of the recording, and what happened to the instances is shown."""
    dev = start("--chaos", "1", "--record", "events.jsonl", "-v")
    seed = re.search(r"chaos    1: the same again with --chaos 1 --chaos-seed (\d+)", dev.log.read_text())
    assert seed
    assert {dev("invoke", "-d", json.dumps({"n": number}))["start"] for number in range(4)} <= {"cold", "reset"}
    assert dev.log.read_text().count("CHAOS") == 4
    assert "initializationType on-demand  phase init" in dev.log.read_text()
    recorded = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["event"]["n"] for line in recorded] == [0, 1, 2, 3]


def test_variables_and_a_configuration_of_another_name(start, tmp_path, monkeypatch):
    """--config names the file; a variable goes before it."""
    (tmp_path / "mine.toml").write_text('[tool.warmstate.dev]\nreload = "fresh"\n')
    dev = start("--config", "mine.toml")
    assert "a change drops all state" in dev.log.read_text()
    dev.end()
    monkeypatch.setenv("WARMSTATE_DEV_RELOAD", "off")
    assert "changes are not watched" in start("--config", "mine.toml").log.read_text()
