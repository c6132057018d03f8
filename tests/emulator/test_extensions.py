"""Extensions that hang, fail or die: each leads to what Lambda does, none to a broken emulator."""

import sys

import pytest

pytestmark = pytest.mark.process

EXTENSION = """#!{python}
import http.client, json, os, sys, time
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, body=None, **headers):
    headers = {{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, "/2020-01-01/extension/" + path, body, headers)
    answer = connection.getresponse()
    return answer, answer.read()
def ask():
    answer, body = call("GET", "event/next", Lambda_Extension_Identifier=identifier)
    return json.loads(body)
answer, _ = call("POST", "register", json.dumps({{"events": ["INVOKE"]}}), Lambda_Extension_Name=os.path.basename(sys.argv[0]))
identifier = answer.headers["Lambda-Extension-Identifier"]
{fault}
"""
FAULTS = {
    "silent": "time.sleep(60)",
    "fails init": "call('POST', 'init/error', '{}', Lambda_Extension_Identifier=identifier, "
    "Lambda_Extension_Function_Error_Type='Extension.NoConfig'); sys.exit(1)",
    "exits in init": "sys.exit(3)",
    "exits in an invocation": "ask(); sys.exit(3)",
    "hangs in an invocation": "ask(); time.sleep(60)",
    "reports its end": "ask(); call('POST', 'exit/error', '{}', Lambda_Extension_Identifier=identifier, "
    "Lambda_Extension_Function_Error_Type='Extension.Tired'); sys.exit(1)",
}


@pytest.fixture
def make_with(make, tmp_path):
    """Add a function with one external extension that has the named fault."""

    def add(fault, **options):
        folder = tmp_path / "extensions"
        folder.mkdir()
        path = folder / "watcher"
        path.write_text(EXTENSION.format(python=sys.executable, fault=FAULTS[fault]))
        path.chmod(0o755)
        return make("watched", extensions=str(folder), share=[str(folder)], **options)

    return add


def test_silent_extension_is_an_init_that_timed_out(emulator, make_with):
    """Init ends when every extension called next; one that never does holds it up to its limit, twice."""
    make_with("silent", init_timeout=0.8, timeout=1.5)
    failed = emulator.invoke("watched", {})

    reports = [e.record for e in emulator.events.of("platform.initReport") if e.function == "watched"]
    assert [(r["phase"], r["status"]) for r in reports] == [("init", "timeout"), ("invoke", "timeout")]
    assert failed.error_type == "Sandbox.Timedout"


@pytest.mark.parametrize(
    ("fault", "kind"), [("fails init", "Extension.NoConfig"), ("exits in init", "Extension.Crash")]
)
def test_extension_that_fails_init(emulator, make_with, fault, kind):
    """Its error is the function's."""
    make_with(fault)
    failed = emulator.invoke("watched", {})
    assert (failed.error_type, failed.init_failed) == (kind, True)
    assert "watcher" in failed.json()["errorMessage"]


def test_extension_that_dies_resets_the_environment(emulator, make_with):
    """The environment starts anew with both; the next event finds it working until the extension dies again."""
    make_with("exits in an invocation")
    emulator.invoke("watched", {})
    assert emulator.invoke("watched", {}).start == "reset"
    resets = [e.record["reason"] for e in emulator.events.of("warmstate.reset") if e.function == "watched"]
    assert set(resets) == {"extension"}


def test_extension_that_reports_its_end_names_why(emulator, make_with):
    """exit/error has a type of its own, which the journal keeps."""
    make_with("reports its end")
    begun = emulator.events.last_id
    emulator.invoke("watched", {"sleep": 0.5})
    assert emulator.events.wait("platform.report", after=begun).record["errorType"] == "Extension.Tired"


def test_extension_that_hangs_uses_the_functions_time(emulator, make_with):
    """The invoke phase lasts until extensions are done; the caller has its answer before."""
    make_with("hangs in an invocation", timeout=1)
    answer = emulator.invoke("watched", {})

    assert answer.json()["count"] == 1
    assert emulator.events.of("warmstate.reset")[-1].record["reason"] == "timeout"
    assert emulator.invoke("watched", {}).start == "reset"
