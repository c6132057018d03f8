"""The Shutdown phase: who is told, how long each may take, what is left."""

import json
import sys

import pytest

from tests.emulator.conftest import CLIENTS

pytestmark = pytest.mark.process

IGNORES_SIGTERM = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.argv = ["plain.py", "--register"]
exec(open({path!r}).read())
"""

EXTENSION = """#!{python}
import http.client, json, os, sys, time
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
connection = http.client.HTTPConnection(api)
def call(method, path, body=None, **headers):
    connection.request(method, "/2020-01-01/extension/" + path, body, headers)
    answer = connection.getresponse()
    return answer, answer.read()
name = os.path.basename(sys.argv[0])
answer, body = call("POST", "register", json.dumps({{"events": ["INVOKE", "SHUTDOWN"]}}), **{{
    "Lambda-Extension-Name": name, "Lambda-Extension-Accept-Feature": "accountId"}})
print("registered", answer.status, body.decode(), flush=True)
print("variables", "_HANDLER" in os.environ, "LAMBDA_TASK_ROOT" in os.environ, flush=True)
identifier = answer.headers["Lambda-Extension-Identifier"]
while True:
    answer, body = call("GET", "event/next", **{{"Lambda-Extension-Identifier": identifier}})
    event = json.loads(body)
    print("event", json.dumps(event), flush=True)
    if event["eventType"] == "SHUTDOWN":
        break
    time.sleep(0.1)
"""


@pytest.fixture
def extensions(tmp_path):
    """A folder with one external extension."""
    folder = tmp_path / "extensions"
    folder.mkdir()
    path = folder / "observer"
    path.write_text(EXTENSION.format(python=sys.executable))
    path.chmod(0o755)
    return str(folder)


def last_shutdown(emulator, name):
    """What the journal says of the function's latest shutdown."""
    return [event for event in emulator.events.of("warmstate.shutdown") if event.function == name][-1].record


def test_without_extension_there_is_only_sigkill(emulator, make):
    """No extension: no SIGTERM and no time at all."""
    make()
    emulator.invoke("plain", {})
    emulator.spindown(emulator.ps("plain")[0].instance)

    record = last_shutdown(emulator, "plain")
    assert (record["budgetMs"], record["killed"]) == (0, True)


def test_internal_extension_gets_sigterm(emulator, make):
    """An internal extension: SIGTERM to the process group, and half a second."""
    make("plain", "--register")
    emulator.invoke("plain", {})
    emulator.spindown(emulator.ps("plain")[0].instance)

    record = last_shutdown(emulator, "plain")
    assert (record["reason"], record["budgetMs"], record["killed"]) == ("spindown", 500, False)
    assert record["runtimeMs"] < 500


def test_sigkill_comes_after_the_budget(emulator, make):
    """Who ignores SIGTERM is killed after 500 ms; late on a busy machine, never early."""
    path = str(CLIENTS / "plain.py")
    make("deaf", runtime=[sys.executable, "-c", IGNORES_SIGTERM.format(path=path)])
    emulator.invoke("deaf", {})
    emulator.spindown(emulator.ps("deaf")[0].instance)

    record = last_shutdown(emulator, "deaf")
    assert record["killed"]
    assert 499 <= record["runtimeMs"] < 700


def test_external_extension_sees_invocations_and_shutdown(emulator, make, extensions):
    """External extensions start first, get INVOKE and SHUTDOWN, and gate the end of the invoke phase."""
    make("observed", extensions=extensions, share=[extensions])
    answer = emulator.invoke("observed", {})
    emulator.spindown(emulator.ps("observed")[0].instance)

    lines = [event.record["line"] for event in emulator.events.of("extension")]
    told = json.loads(lines[0].removeprefix("registered 200 "))
    assert told == {
        "functionName": "observed",
        "functionVersion": "$LATEST",
        "handler": "app.Handler",
        "accountId": "123456789012",
    }
    assert lines[1] == "variables False False"
    assert '"eventType": "INVOKE"' in lines[2]
    assert answer.request_id in lines[2]
    assert answer.duration_ms >= 100
    assert '"shutdownReason": "spindown"' in lines[3]
    record = last_shutdown(emulator, "observed")
    assert (record["budgetMs"], record["runtimeBudgetMs"]) == (2000, 300)


@pytest.mark.parametrize(("event", "reason"), [({"sleep": 60}, "timeout"), ({"exit": 1}, "failure")])
def test_an_extension_is_told_why_it_ends(emulator, make, extensions, event, reason):
    """A timeout, or a failure, in Lambda's words; not in those of AWS's emulator."""
    make("observed", extensions=extensions, share=[extensions], timeout=3)
    begun = emulator.events.last_id
    emulator.invoke("observed", event)
    lines = [e.record["line"] for e in emulator.events.since(begun) if e.type == "extension"]
    assert f'"shutdownReason": "{reason}"' in lines[-1]


def test_reset_starts_extensions_again(emulator, make, extensions):
    """After a crash the extensions are new processes, too."""
    make("observed", extensions=extensions, share=[extensions])
    emulator.invoke("observed", {"exit": 1})
    begun = emulator.events.last_id
    assert emulator.invoke("observed", {}).start == "reset"
    lines = [event.record["line"] for event in emulator.events.since(begun) if event.type == "extension"]
    assert lines[0].startswith("registered 200")
