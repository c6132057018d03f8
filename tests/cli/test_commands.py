"""The command line against a running emulator: answers on stdout, the rest on stderr."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest

from tests.emulator.conftest import CLIENTS, ROOT, TASK_ROOT
from warmstate.cli.arguments import build_parser
from warmstate.emulator import Function
from warmstate.project import find_handlers

pytestmark = pytest.mark.process


def test_answer_is_all_that_stdout_has(run):
    """The payload goes to stdout and how it went to stderr, so that a pipe gets JSON and nothing else."""
    code, out, err = run("invoke", "plain", "-d", '{"a": 1}')

    assert code == 0
    assert json.loads(out)["echo"] == {"a": 1}
    assert "billed" in err


def test_a_module_that_does_not_compile_is_told(run, tmp_path):
    """With its file and line, by dev, which looks for a handler, and by doctor, which imports it."""
    (tmp_path / "app.py").write_text("class A(StatefulHandler: pass\n")
    assert "app.py does not compile: " in run("dev")[2]
    assert 'app.py", line 1' in run("doctor", "app.A")[1]


def test_streamed_answer_is_printed_as_it_comes(running, run):
    """invoke --stream writes the pieces to stdout, and how it went to stderr; a failed one has its exit code."""
    runtime = [sys.executable, str(CLIENTS / "streaming.py")]
    running.add(Function(name="stream", handler="x", task_root=TASK_ROOT, runtime=runtime))
    try:
        code, out, err = run("invoke", "stream", "--stream", "-d", '{"chunks": ["a", "b"]}')
        assert (code, out) == (0, "ab")
        assert "billed" in err
        code, out, _ = run("invoke", "stream", "--stream", "-d", '{"chunks": ["a"], "fail": "late"}')
        assert (code, out.startswith("a")) == (1, True)
    finally:
        running.remove("stream")


def test_handler_is_found(tmp_path):
    """The only StatefulHandler of a folder is found by reading its modules, without running them."""
    (tmp_path / "app.py").write_text("import warmstate\nclass One(warmstate.StatefulHandler): ...\nraise SystemExit\n")
    (tmp_path / "broken.py").write_text("def :\n")
    (tmp_path / "other.py").write_text("class Plain: ...\n")
    assert find_handlers(str(tmp_path)) == ["app.One"]


def test_verbs_and_ps(run):
    """The verbs show what they did, as a table or as JSON lines."""
    run("invoke", "plain")
    instance = json.loads(run("ps", "--json")[1])["instance"]
    assert json.loads(run("freeze", instance, "--minutes", "20", "--json")[1])["frozen_for"] >= 1200
    assert "thaw" in run("invoke", "plain")[2]
    assert json.loads(run("thaw", instance, "--json")[1])["state"] == "idle"
    assert json.loads(run("reset", instance, "--json")[1])["state"] == "reset"
    assert "reset" in run("invoke", "plain")[2]
    assert "INSTANCE" in run("ps")[1]
    assert json.loads(run("spindown", "--all", "--json")[1])["state"] == "gone"
    assert json.loads(run("scale", "1", "--json")[1])["state"] == "frozen"


def test_repeat_prints_percentiles(run):
    """-n sends an event many times and tells how long each kind of start took."""
    code, out, _ = run("invoke", "plain", "-n", "10", "--json")
    assert code == 0
    assert sum(row["count"] for row in json.loads(out)["starts"].values()) == 10


def test_a_traceback_is_lines(run):
    """What came as one event, with carriage returns as the log service has it, is read line by line."""
    run("invoke")
    begun = json.loads(run("events", "--json")[1].splitlines()[-1])["id"]
    run("invoke", "-d", json.dumps({"print": "Error\rTraceback\r\N{NO-BREAK SPACE} in it"}))
    shown = run("logs", "--since", str(begun))[1]
    said = [line for line in shown.splitlines() if "invoke" not in line and "REPORT" not in line]
    indent = " " * said[0].index("Error")
    assert said[1:] == [f"{indent}Traceback", f"{indent}  in it"]
    assert "\r" not in shown


def test_event_from_stdin_file_and_example(run, tmp_path, monkeypatch):
    """An event comes from an option, a file, stdin or an example."""
    path = tmp_path / "event.json"
    path.write_text('{"from": "file"}')
    assert json.loads(run("invoke", "-F", str(path))[1])["echo"] == {"from": "file"}
    assert json.loads(run("invoke", "-d", f"@{path}")[1])["echo"] == {"from": "file"}
    assert json.loads(run("invoke", "-E", "sqs:receive-message")[1])["echo"]["Records"][0]["eventSource"] == "aws:sqs"
    assert "sqs" in run("examples")[1].split()
    assert json.loads(run("examples", "s3")[1])["Records"][0]["eventSource"] == "aws:s3"


@pytest.fixture
def remote(running, run):
    """Invoke with --remote, where AWS is the emulator."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = "local"

    def call(*arguments):
        where = ("--remote", "--endpoint-url", running.url, "--region", "us-east-1")
        return run("invoke", *arguments, *where)

    yield call
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del os.environ[name]


def test_remote_calls_with_boto3(remote):
    """The same answer on stdout, what was reported of it on stderr, the same exit codes."""
    code, out, err = remote("plain", "-d", '{"a": 1}')
    assert (code, json.loads(out)["echo"]) == (0, {"a": 1})
    assert "Billed Duration" in err

    code, out, _ = remote("plain", "-d", '{"raise": "x"}', "--json")
    assert (code, json.loads(out)["exit"], json.loads(out)["function_error"]) == (1, 1, "Unhandled")
    assert remote("plain", "--dry-run")[0] == 0
    assert remote("plain", "--async")[0] == 0


def test_remote_says_what_is_wrong(remote, run, monkeypatch):
    """A name that is not there, an option that only this machine has, no account."""
    for arguments in ([], ["plain", "--on", "i-1"], ["nothing-of-that-name"]):
        code, _, err = remote(*arguments)
        assert (code, err.startswith("error[WS219]")) == (2, True), err
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "AWS has no account" in run("invoke", "plain", "--remote")[2]


def test_replay_logs_and_events(run):
    """What happened can be read, and an event sent again."""
    run("invoke", "plain", "-d", '{"print": "said this"}')
    assert json.loads(run("replay", "last")[1])["echo"] == {"print": "said this"}
    assert "said this" in run("logs", "plain")[1]
    assert "said this" in run("logs")[1]
    types = [json.loads(line)["type"] for line in run("events", "--type", "platform.", "--json")[1].splitlines()]
    assert {"platform.start", "platform.report"} <= set(types)
    assert all(kind.startswith("platform.") for kind in types)


def test_follow_goes_on(running, run):
    """logs -f shows what is written after it was started."""
    command = [sys.executable, "-m", "warmstate.cli.main", "logs", "-f", "--since", str(running.events.last_id)]
    environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        running.invoke("plain", {"print": "followed"})
        assert any("followed" in line for line in process.stdout)
        process.terminate()


def test_timeline(run, tmp_path):
    """The timeline is text, JSON or a drawing that any XML parser reads."""
    from xml.etree import ElementTree

    run("invoke", "plain")
    assert "#" in run("timeline", "--squeeze")[1]
    assert run("timeline", "--svg", "out.svg")[0] == 0
    kinds = {
        element.text for element in ElementTree.parse(tmp_path / "out.svg").iter("{http://www.w3.org/2000/svg}text")
    }
    assert {"running", "frozen"} <= kinds


def test_env_makes_boto3_find_it(running, run):
    """The exports of `warmstate env` are enough for a plain boto3 client."""
    run("invoke", "plain")
    out = run("env")[1]
    code = "import boto3; print(boto3.client('lambda').invoke(FunctionName='plain')['StatusCode'])"
    done = subprocess.run(
        ["/bin/sh", "-c", f'{out}\nexec {sys.executable} -c "{code}"'],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.stdout.strip() == "200", done.stderr


def test_completion_scripts_are_valid(run):
    """bash accepts its script, and every verb is in each."""
    for shell in ("bash", "zsh", "fish"):
        assert "spindown" in run("completion", shell)[1]
    subprocess.run(["bash", "-n"], input=run("completion", "bash")[1], text=True, check=True)


LOSES = """
from warmstate import State, StatefulHandler, Tail, state, tail
class Handler(StatefulHandler):
    count: State[int] = state(default=0, survives="reset")
    seen: State[int] = state(default=0)
    photos: Tail[str] = tail(max_items=25, max_bytes="32 MB", max_age=30)
    @photos.flush
    def write(self, batch): ...
    def handle(self, event, context): ...
"""


def test_doctor_says_what_can_be_lost(run, tmp_path):
    """What each declaration outlives, and the loss bound of a tail."""
    (tmp_path / "loses.py").write_text(LOSES)
    code, out, _ = run("doctor", "loses.Handler", "--json")
    found = [json.loads(line)["found"] for line in out.splitlines() if json.loads(line)["check"] == "state"]
    assert code == 0
    assert found == [
        "seen: lost with the process",
        "count: kept over a reset, lost with the instance",
        "photos: a reset can lose 24 items or 32.0 MB or what 30s bring, whichever is least",
    ]


def test_doctor_finds_a_broken_handler(run, tmp_path):
    """doctor says what works, and exits with 7 when something does not."""
    (tmp_path / "good.py").write_text("class Handler: pass\n")
    (tmp_path / "bad.py").write_text("import does_not_exist\n")

    code, out, _ = run("doctor", "good.Handler", "--json")
    assert code == 0
    assert {json.loads(line)["check"] for line in out.splitlines()} >= {"python", "isolation", "freeze", "handler"}
    code, out, _ = run("doctor", "bad.Handler")
    assert code == 7
    assert re.search(r"No module named 'does_not_exist' \(File .*bad\.py\", line 1\)", out)
    assert "No module named 'nowhere'\n" in run("doctor", "nowhere.Handler")[1]  # and no line of the importer's own


def test_doctor_reads_the_configuration(run, tmp_path):
    """It says what dev would take from there, or what is wrong with it."""
    (tmp_path / "a.py").write_text("def A(event, context): ...\n")
    (tmp_path / "mine.toml").write_text(
        '[tool.warmstate]\nport = 9123\n[tool.warmstate.functions.a]\nhandler = "a.A"\n'
    )
    _, out, _ = run("doctor", "--config", "mine.toml")
    assert "[tool.warmstate] has a; port 9123, reload keep" in out
    assert "port           9123 is " in out
    (tmp_path / "mine.toml").write_text("[tool.warmstate]\nprot = 9123\n")
    code, out, _ = run("doctor", "--config", "mine.toml", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    (told,) = [finding for finding in found if finding["check"] == "configuration"]
    assert (code, told["status"], "did you mean port?" in told["found"]) == (7, "problem", True)


def test_every_verb_has_help():
    """Each verb explains itself and takes --json."""
    parser = build_parser()
    verbs = next(action.choices for action in parser._actions if action.choices and "dev" in action.choices)
    for name in [
        "dev",
        "invoke",
        "ps",
        "freeze",
        "thaw",
        "reset",
        "kill",
        "spindown",
        "scale",
        "state",
        "logs",
        "events",
        "replay",
        "timeline",
        "doctor",
        "env",
        "completion",
    ]:
        assert "--json" in verbs[name].format_help()
        assert verbs[name].description


def test_help_loads_little_more_than_argparse():
    """`warmstate --help` stays quick because of what it does not load: no emulator, no HTTP client, no archive formats."""
    script = (
        "import argparse, sys\n"
        "before = set(sys.modules)\n"
        "from warmstate.cli.main import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit:\n"
        "    print(sorted(set(sys.modules) - before))\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(ast.literal_eval(shown.stdout.splitlines()[-1]))
    names = ("main", "problem", "parsing", "arguments", "dev_arguments")
    ours = {"warmstate", "warmstate.cli", *(f"warmstate.cli.{name}" for name in names)}

    assert ours <= loaded
    # What argparse loads when it is used, and `importlib` itself; each is small.
    small = {"__future__", "_colorize", "_locale", "copy", "errno", "locale", "textwrap", "weakref"}
    assert {name for name in loaded - ours if not name.startswith("importlib")} <= small
