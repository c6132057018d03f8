"""What was sent can be sent again: by its id, the latest, or a whole recording."""

import json
import sys

import pytest

from tests.emulator.conftest import CLIENTS, TASK_ROOT
from warmstate.cli.main import main
from warmstate.emulator import Emulator, Function

pytestmark = pytest.mark.process


@pytest.fixture
def run(capfd, monkeypatch, tmp_path):
    """An emulator of its own, and a way to run commands against it: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    with Emulator() as emulator:
        monkeypatch.setenv("WARMSTATE_ENDPOINT", emulator.url)
        runtime = [sys.executable, str(CLIENTS / "plain.py")]
        for name, options in (("plain", {}), ("tenants", {"tenant_isolation": True})):
            emulator.add(Function(name=name, handler="x", task_root=TASK_ROOT, runtime=runtime, **options))

        def call(*arguments):
            code = main(arguments)
            return (code, *capfd.readouterr())

        call.emulator = emulator
        yield call


def test_nothing_to_replay_is_said_so(run):
    """Before any invocation, and without saying what: exit 2, and what to do."""
    code, out, err = run("replay", "last")
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == "error[WS202]: nothing was invoked yet"
    assert "fix   send one first: warmstate invoke" in err
    assert run("replay")[0] == 2
    assert run("replay", "last", "--from", "x")[0] == 2


def test_a_recording_can_be_sent_again(run, tmp_path):
    """Each event once, as a line of JSON, with its tenant and client context; replay sends all, in order."""
    path = tmp_path / "events.jsonl"
    run.emulator.record(str(path))
    for number in range(3):
        run("invoke", "plain", "-d", json.dumps({"n": number, "text": "ä\u2028"}), "--client-context", '{"custom": {}}')
    run("invoke", "tenants", "--tenant-id", "blue")
    run("invoke", "plain", "-d", '{"raise": "no"}')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"].get("n") for line in lines] == [0, 1, 2, None, None]
    assert [line.get("tenant_id") for line in lines] == [None, None, None, "blue", None]

    code, out, _ = run("replay", "--from", "events.jsonl")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [answer["echo"].get("n") for answer in answers[:4]] == [0, 1, 2, None]
    assert answers[0]["echo"]["text"] == "ä\u2028"
    assert answers[3]["headers"]["Lambda-Runtime-Aws-Tenant-Id"] == "blue"
    assert json.loads(answers[0]["headers"]["Lambda-Runtime-Client-Context"]) == {"custom": {}}
    assert answers[4]["errorType"] == "ValueError"


@pytest.mark.parametrize("line", ["{", "[]", '{"event": 1}', '{"function": "plain"}', '{"function": 1, "event": 1}'])
def test_what_is_no_recording_is_refused(run, tmp_path, line):
    """With its line, before anything of it was sent."""
    (tmp_path / "events.jsonl").write_text(f"\n{line}\n")
    code, _, err = run("replay", "--from", "events.jsonl")
    assert (code, "events.jsonl, line 2" in err) == (2, True)


def test_invoke_on_a_new_instance(run):
    """--cold finds none that was there before; it contradicts --on."""
    assert run("invoke", "plain")[0] == 0
    assert run("invoke", "plain", "--cold", "--expect-start", "cold")[0] == 0
    assert run("invoke", "plain", "--expect-start", "cold")[0] == 8
    code, _, err = run("invoke", "plain", "--cold", "--on", "i-1")
    assert (code, "--on does not go with --cold" in err) == (2, True)
    code, _, err = run("invoke", "plain", "--on", "i-99")
    assert (code, "there is no instance i-99" in err) == (2, True)
