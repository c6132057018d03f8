"""How a command ends: documented exit codes, one shape of error, JSON where it is asked for."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.emulator.conftest import ROOT, TASK_ROOT
from warmstate.emulator import Function

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["invoke", "-d", '{"raise": "x"}'], 1),
        (["invoke", "-d", "{"], 2),
        (["invoke", "unknown"], 2),
        (["invoke", "-d", "{}", "-E", "sqs"], 2),
        (["invoke", "-E", "nothing"], 2),
        (["invoke", "-F", "/does/not/exist"], 2),
        (["invoke", "-d", '{"sleep": 30}'], 5),
        (["freeze"], 2),
        (["freeze", "i-999"], 2),
        (["invoke", "--endpoint", "http://127.0.0.1:9"], 3),
        (["-C", "/does/not/exist", "ps"], 2),
        (["timeline", "--svg", "/does/not/exist/x.svg"], 2),
        (["freeze", "i-1", "--minutes", "-3"], 2),
        (["freeze", "i-1", "--minutes", "nan"], 2),
        (["freeze", "i-1", "--seconds", "inf"], 2),
        (["ps", "-C", "/does/not/exist"], 2),
        (["nothing"], 2),
        (["invoke", "--nothing"], 2),
        (["scale", "many"], 2),
        (["invoke", "--expect-start", "restore"], 8),
        (["invoke", "--expect-start", "restore", "-n", "2"], 8),
        (["invoke", "--expect-start", "hot"], 2),
        (["invoke", "--on", "i-999"], 2),
        (["dev"], 2),
        (["dev", "app"], 2),
        (["dev", "a.B", "c.B"], 2),
        (["dev", "nowhere.Handler"], 2),
        (["dev", "-t", "nowhere.yaml"], 2),
        (["dev", "--idle", "soon"], 2),
        (["dev", "a.B", "c.D", "--name", "x"], 2),
    ],
)
def test_exit_codes(run, arguments, code):
    """Each kind of failure has its own exit code, and one shape of message."""
    found, _, err = run(*arguments)
    assert found == code
    if code == 8:
        assert "expected the start restore" in err
        return
    if code not in {1, 5}:
        assert err.startswith("error[WS")
        assert "\n  fix   " in err


def test_init_failure_has_its_exit_code(running, run):
    """A function that cannot start is told from one that fails."""
    running.add(Function(name="broken", handler="x", task_root=TASK_ROOT, runtime=["/bin/false"]))
    try:
        assert run("invoke", "broken")[0] == 4
        for arguments in (["invoke"], ["scale", "1"]):
            code, _, err = run(*arguments)
            assert (code, "name one of the functions: broken, plain" in err) == (2, True), err
    finally:
        running.remove("broken")


def test_throttled_has_its_exit_code(running, run):
    """A busy function is told from a broken one."""
    run("invoke", "plain")
    begun = running.events.last_id
    command = [sys.executable, "-m", "warmstate.cli.main", "invoke", "-d", '{"sleep": 1.5}', "-q"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": ROOT}):
        running.events.wait("platform.start", after=begun)
        assert run("invoke", "plain")[0] == 9


def test_a_wrong_verb_is_told_with_the_nearest(run):
    """And no verb at all shows the help, with the exit code of a mistake."""
    code, _, err = run("invok")
    assert (code, "there is no verb 'invok'" in err, "fix   warmstate invoke" in err) == (2, True, True)
    assert "freeze --minutes" not in err
    code, out, err = run()
    assert (code, out, "exit codes:" in err) == (2, "", True)


@pytest.mark.parametrize(("arguments", "wrong"), [("dev --prot 1", "--prot"), ("scale 1 plain more", "more")])
def test_a_wrong_option_is_told_with_its_verb(run, arguments, wrong):
    """The help of the verb has the right one, that of all verbs has not."""
    code, _, err = run(*arguments.split())
    verb = arguments.split()[0]
    assert (code, err) == (
        2,
        f"error[WS200]: '{wrong}' is nothing that it takes\n  warmstate {verb}\n  fix   warmstate {verb} --help\n",
    )


def test_a_file_is_no_handler(run, tmp_path):
    """The handler that is in it is named."""
    (tmp_path / "app.py").write_text("from warmstate import StatefulHandler\nclass Counter(StatefulHandler): ...\n")
    for name in ("app", "app.py", "./app.py"):
        code, _, err = run("dev", name)
        assert (code, "fix   warmstate dev app.Counter " in err) == (2, True), err


def test_errors_as_json(run):
    """With --json an error is an object on stdout, with its code, its exit and the fix."""
    code, out, _ = run("freeze", "i-999", "--json")
    problem = json.loads(out)

    assert (problem["v"], problem["ok"], problem["exit"]) == (1, False, code)
    assert problem["code"].startswith("WS")
    assert problem["fix"]


@pytest.mark.parametrize(
    "arguments", [["nothing", "--json"], ["--json", "freeze", "i-999"], ["invoke", "-n", "x", "--json"]]
)
def test_every_error_can_be_json(run, arguments):
    """What cannot be parsed has the same shape, and --json may stand before the verb."""
    code, out, _ = run(*arguments)
    problem = json.loads(out)
    assert (problem["ok"], problem["exit"], bool(problem["fix"])) == (False, code, True)


def test_verbose_shows_the_requests_and_where_an_error_comes_from(run, tmp_path):
    """-v has every request on stderr; -vv also the traceback of an error."""
    _, out, err = run("ps", "-v", "--json")
    assert "GET http://" in err
    assert "/_warmstate/api/v1/instances → 200, " in err
    assert "→" not in out
    _, _, err = run("freeze", "i-999", "-vv")
    assert err.index("Traceback") < err.index("error[WS202]")
    (tmp_path / "file").write_text("")
    code, _, err = run("-C", "file", "ps")
    assert (code, err.splitlines()[0]) == (2, "error[WS206]: cannot open file")


@pytest.mark.parametrize(
    "arguments",
    [
        ["invoke", "--stream", "-n", "3"],
        ["invoke", "--stream", "--async"],
        ["invoke", "--async", "--dry-run"],
        ["invoke", "-n", "0"],
        ["invoke", "-n", "2", "-c", "0"],
        ["invoke", "-c", "2"],
        ["invoke", "--async", "--expect-start", "warm"],
        ["invoke", "--expect-start", "warm", "--dry-run"],
    ],
)
def test_what_contradicts_itself_is_refused(run, arguments):
    """Instead of one of the two being forgotten."""
    code, out, err = run(*arguments)
    assert (code, out, err[:13]) == (2, "", "error[WS203]:"), err


def test_a_client_context_is_json(run):
    """The fix is about the context, not about the event."""
    code, _, err = run("invoke", "--client-context", "{")
    assert (code, "fix   --client-context takes a JSON object" in err) == (2, True), err


def test_an_emulator_that_ends_in_the_middle_did_answer(run):
    """It took the request: that is told from an address where nobody listens."""
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            connection, _ = listener.accept()
            connection.recv(65_536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        code, _, err = run("invoke", "--endpoint", f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert (code, "the connection to the emulator broke: it ended in the middle of a request" in err) == (3, True)


def test_the_shells_are_named(run):
    """And not what only the scripts ask for."""
    code, _, err = run("completion", "tcsh")
    assert (code, "there is no script for 'tcsh'; write bash, zsh or fish" in err) == (2, True)
    assert "instances" not in err


def test_another_server_is_no_emulator(run):
    """What answers but is none of ours is told as such; an address may be without its scheme."""
    import http.server
    import threading

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code, _, err = run("ps", "--endpoint", f"127.0.0.1:{server.server_port}")
        server.shutdown()
    assert (code, "no emulator of ours answers" in err, "--endpoint" in err) == (3, True, True)


OF_OTHERS = {"record", "variables"}
"""AWS's Telemetry API names what is in a record, and the environment its variables."""


STATEFUL = """
from warmstate import State, StatefulHandler, Tail, state, tail
class Handler(StatefulHandler):
    count: State[int] = state(default=0, survives="reset")
    photos: Tail[str] = tail(max_items=25)
    @photos.flush
    def write(self, batch): ...
    def handle(self, event, context):
        self.count += 1
        self.photos.append("one")
"""


def names_in(value):
    if isinstance(value, list):
        return {name for item in value for name in names_in(item)}
    if not isinstance(value, dict):
        return set()
    return {*value} | {name for key, item in value.items() if key not in OF_OTHERS for name in names_in(item)}


@pytest.mark.parametrize(
    "arguments",
    [
        ["invoke"],
        ["invoke", "--async"],
        ["invoke", "--dry-run"],
        ["invoke", "--stream"],
        ["invoke", "-n", "2"],
        ["replay", "last"],
        ["ps"],
        ["freeze", "--all"],
        ["thaw", "--all"],
        ["reset", "--all"],
        ["kill", "--all"],
        ["scale", "1"],
        ["spindown", "--all"],
        ["logs"],
        ["events"],
        ["timeline"],
        ["doctor", "app.Handler"],
        ["env"],
        ["env", "--unset"],
        ["examples"],
        ["examples", "sqs"],
        ["completion", "bash"],
    ],
)
def test_every_verb_speaks_json(run, tmp_path, arguments):
    """With --json, stdout is objects, one a line, each says which format it is, and all names are of one kind."""
    (tmp_path / "app.py").write_text(STATEFUL)
    run("invoke")
    code, out, err = run(*arguments, "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0, err
    assert found
    assert all(isinstance(value, dict) for value in found)
    if arguments != ["examples", "sqs"]:  # a document of AWS
        assert {value["v"] for value in found} == {1}
        assert [name for name in names_in(found) if not re.fullmatch("[a-z][a-z0-9_]*", name)] == []


def test_state_speaks_json(running, run, tmp_path):
    """What the runtime tells of itself has names of the same kind."""
    (tmp_path / "app.py").write_text(STATEFUL)
    running.add(Function(name="stateful", handler="app.Handler", task_root=str(tmp_path), inspect=True))
    try:
        instance = json.loads(run("invoke", "stateful", "--json")[1])["instance"]
        names = names_in(json.loads(run("state", instance, "--json")[1]))
    finally:
        running.remove("stateful")
    assert {"v", "instance", "reset_reason", "count", "photos"} <= names
    assert [name for name in names if not re.fullmatch("[a-z][a-z0-9_]*", name)] == []
