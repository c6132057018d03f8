"""`as_lambda_handler()` inside AWS's own client: what works there, and what the caller gets."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.hosts.scripted import PATIENCE, Runtime, ScriptedApi, http, wait_for
from tests.peers.stock import MANAGED, stock_runtime

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.peer, pytest.mark.process]

SOURCE = """
import decimal, os, sys, time
import warmstate
from warmstate import Raw, State, StatefulHandler, Tail, http_response, resource, state, tail

class App(StatefulHandler):
    kept: State[int] = state(default=0, survives="reset")
    in_memory: State[int] = state(default=0)
    lines: Tail[str] = tail(max_items=100)

    @resource
    def opened(self):
        yield time.time()

    @lines.flush
    def write(self, batch):
        note("flushed " + " ".join(batch))

    def on_init(self, init):
        if os.environ.get("FAIL"):
            raise ConnectionError("no database")
        self.init = init

    def handle(self, event, context):
        self.kept += 1
        self.in_memory += 1
        return getattr(self, "do_" + event["do"])(event, context)

    def do_count(self, event, context):
        thaw = context.thaw and round(context.thaw.frozen_for, 3)
        return {"kept": self.kept, "in_memory": self.in_memory, "start": context.start, "thaw": thaw, "pid": os.getpid(),
                "generation": context.generation, "reason": self.init.reset_reason}

    def do_answer(self, event, context):
        return eval(event["code"])

    def do_stream(self, event, context):
        return self.items(event["http"])

    def items(self, http):
        if http:
            yield http_response(201, {"x": "y"}, ["a=b"])
        yield "one "
        yield "two"

    def do_append(self, event, context):
        self.lines.append(event["line"])
        return self.opened > 0

    def do_sleep(self, event, context):
        note("begun")
        time.sleep(0.5)
        return "slept"

    def do_fork(self, event, context):
        begun, begins = os.pipe()
        forked = os.fork()
        if not forked:
            os.write(begins, b".")
            for _ in range(100 * event["seconds"]):
                time.sleep(0.01)  # Python looks for a signal that came just before a sleep only after it
            sys.exit(3)
        os.read(begun, 1)
        if event["signal"]:
            os.kill(forked, event["signal"])
        return os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])

    def do_raise(self, event, context):
        raise eval(event["code"])

    def do_caller(self, event, context):
        client = context.client_context
        return [context.tenant_id, client.custom, client.client.app_title, context.identity.cognito_identity_pool_id,
                context.w3c(), context.function_name, context.remaining > 1]

    def after_response(self, context):
        self.in_memory += 100

    def before_shutdown(self, shutdown):
        note("shutdown " + shutdown.reason)

def note(text):
    with open(os.environ["NOTES"], "a") as file:
        file.write(text + "\\n")

handler = App.as_lambda_handler()
"""


@pytest.fixture
def api():
    with ScriptedApi() as scripted:
        yield scripted


@pytest.fixture
def start(api, tmp_path):
    """Start AWS's client with the handler above; every process is ended with the test."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "task").mkdir()
    (tmp_path / "task/app.py").write_text(SOURCE)
    started: list[Runtime] = []

    def start(**variables) -> Runtime:
        runtime = stock_runtime(
            api,
            "app.handler",
            tmp_path / "task",
            tmp=tmp_path / "tmp",
            path=[ROOT],
            NOTES=str(tmp_path / "notes"),
            **variables,
        )
        started.append(runtime)
        return runtime

    yield start
    for runtime in started:
        runtime.__exit__()


@pytest.fixture
def notes(tmp_path):
    return lambda: (tmp_path / "notes").read_text().splitlines() if (tmp_path / "notes").exists() else []


def ask(api, request_id, do, **event):
    return api.ask(request_id, {"do": do, **event})


@pytest.mark.parametrize("variables", [{}, MANAGED], ids=["image", "managed"])
def test_state_stays_warm_and_commits_outlive_the_process(api, start, variables) -> None:
    """The first start is cold, the next warm; after a crash memory is new, and the committed slot is what was answered."""
    runtime = start(**variables)
    first, second = ask(api, "r1", "count").json, ask(api, "r2", "count").json
    runtime.process.kill()
    runtime.ended()
    start(**variables)
    third = ask(api, "r3", "count").json

    assert ["cold", 1, 1] == [first[name] for name in ("start", "kept", "in_memory")]
    assert ["warm", 2, 102] == [second[name] for name in ("start", "kept", "in_memory")]
    assert ["reset", "crash", 2, 3, 1] == [
        third[name] for name in ("start", "reason", "generation", "kept", "in_memory")
    ]


def test_a_freeze_is_told_from_the_gap(api, start) -> None:
    """A stopped process finds itself thawed, with the time it was gone."""
    runtime = start(WARMSTATE_THAW_AFTER="0.4")
    ask(api, "r1", "count")
    runtime.signal(signal.SIGSTOP)
    time.sleep(0.6)  # the time that is measured
    runtime.signal(signal.SIGCONT)
    thawed = ask(api, "r2", "count").json

    assert "thaw" == thawed["start"]
    assert 0.5 < thawed["thaw"]


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("{'a': decimal.Decimal('1.10'), 'b': 0.1, 'c': 10 ** 30}", b'{"a": 1.10, "b": 0.1, "c": 1000000000000000000000000000000}'),
        ("b'\\xff\\x00'", b"\xff\x00"),
        ("Raw(b'<svg/>', 'image/svg+xml')", b"<svg/>"),
        ("None", b"null"),
        ("'grüße'", b'"gr\\u00fc\\u00dfe"'),
    ],
    ids=["numbers", "bytes", "Raw", "None", "text"],
)  # fmt: skip
def test_answers_are_those_of_our_own_runtime(api, start, code, body) -> None:
    """No digit and no byte is lost on the way through the client."""
    start()

    answer = ask(api, "r1", "answer", code=code)

    assert ("response", body) == (answer.kind, answer.body)


def test_streams_are_put_together(api, start) -> None:
    """The whole body of a stream is the answer; one with a prelude becomes the answer of a buffered function URL."""
    start()

    plain = ask(api, "r1", "stream", http=False)
    http = ask(api, "r2", "stream", http=True)

    assert b"one two" == plain.body
    assert {
        "statusCode": 201,
        "headers": {"x": "y"},
        "cookies": ["a=b"],
        "body": "one two",
        "isBase64Encoded": False,
    } == http.json


def test_errors_bear_their_own_names_and_places(api, start) -> None:
    """The caller sees the handler's exception and its frames; what we refuse has our name; the process goes on."""
    start()

    own = ask(api, "r1", "raise", code="ZeroDivisionError('no')").json
    left = ask(api, "r2", "raise", code="SystemExit(0)").json
    refused = ask(api, "r3", "answer", code="{1, 2}").json
    large = ask(api, "r4", "answer", code="'x' * 7_000_000").json
    after = ask(api, "r5", "count").json

    assert ("ZeroDivisionError", "no") == (own["errorType"], own["errorMessage"])
    assert "in do_raise" in own["stackTrace"][-1]
    assert "adapter.py" in own["stackTrace"][1]
    assert "app.py" in own["stackTrace"][2]
    assert "Runtime.HandlerExit" == left["errorType"]
    assert "Runtime.MarshalError" == refused["errorType"]
    assert "Function.ResponseSizeTooLarge" == large["errorType"]
    assert 1 == after["kept"], "what failed was rolled back"


def test_the_caller_is_passed_on(api, start) -> None:
    """Tenant, client context, identity and trace headers reach the handler's own context."""
    start(AWS_LAMBDA_FUNCTION_NAME="f")
    context = {"custom": {"a": 1}, "client": {"app_title": "t"}, "w3c": {"traceparent": "00-1"}}
    identity = {"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"}

    answer = api.ask(
        "r1",
        {"do": "caller"},
        Lambda_Runtime_Aws_Tenant_Id="blue",
        Lambda_Runtime_Client_Context=json.dumps(context),
        Lambda_Runtime_Cognito_Identity=json.dumps(identity),
    )

    assert ["blue", {"a": 1}, "t", "p", {"traceparent": "00-1"}, "f", True] == answer.json


def test_sigterm_while_idle_runs_the_last_steps(api, start, notes) -> None:
    """Where the client polls on another thread SIGTERM reaches Python: hooks run, tails are flushed, and it is an exit."""
    runtime = start(**MANAGED)
    ask(api, "r1", "append", line="a")
    api.wait_until_idle()
    runtime.signal(signal.SIGTERM)
    status = runtime.ended()
    start(**MANAGED)
    again = ask(api, "r2", "count").json

    assert 0 == status
    assert ["shutdown spindown", "flushed a"] == notes()
    assert ["reset", "exit"] == [again["start"], again["reason"]]


def test_sigterm_in_a_handler_waits_for_it(api, start, notes) -> None:
    """The last steps need the handler's own locks, so they run when it is done, and its answer still leaves."""
    runtime = start(**MANAGED)
    ask(api, "r0", "append", line="a")
    api.send("r1", {"do": "sleep"})
    wait_for(lambda: "begun" in notes())
    runtime.signal(signal.SIGTERM)
    answer = api.answer()

    assert ("r1", "response", b'"slept"') == (answer.request_id, answer.kind, answer.body)
    assert ["begun", "shutdown spindown", "flushed a"] == notes()


@pytest.mark.parametrize(("seconds", "number", "status"), [(60, signal.SIGTERM, -signal.SIGTERM), (0, 0, 3)])
def test_a_child_that_the_handler_forked_ends_alone(api, start, notes, seconds, number, status) -> None:
    """It neither answers nor runs the last steps, which are the instance's."""
    start()
    ask(api, "r0", "append", line="a")

    assert status == ask(api, "r1", "fork", seconds=seconds, signal=number).json
    assert [3, []] == [ask(api, "r2", "count").json["kept"], notes()]


def test_a_failing_init_is_the_platforms_init_error(api, start) -> None:
    """What on_init raises is reported under its own name, once."""
    runtime = start(FAIL="1")
    status = runtime.process.wait(PATIENCE)
    posted = api.answer()

    assert 1 == status
    assert ("init/error", "ConnectionError", "no database") == (
        posted.kind,
        posted.json["errorType"],
        posted.json["errorMessage"],
    )
    assert api.posted.empty()


def test_a_requested_reset_ends_the_process(api, start, notes) -> None:
    """`ResetRequested` closes the instance, and the next process starts as after an exit."""
    runtime = start()
    ask(api, "r1", "append", line="a")
    api.send("r2", {"do": "raise", "code": "warmstate.ResetRequested('anew')"})
    status = runtime.ended()
    start()
    again = ask(api, "r3", "count").json

    assert 1 == status
    assert ["shutdown failure", "flushed a"] == notes()
    assert ["reset", "exit", 2] == [again["start"], again["reason"], again["generation"]]


def test_a_snapshot_is_begun_anew_in_each_clone(api, start) -> None:
    """With SnapStart the first start is a restore, and resources opened before the snapshot are not those after it."""
    start(AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    api.events.put(http(200))  # the answer to restore/next: this is the clone
    first, second = ask(api, "r1", "count").json, ask(api, "r2", "count").json

    assert ["restore", "warm"] == [first["start"], second["start"]]
    assert [1, None] == [first["generation"], first["reason"]]
    assert any(path.endswith("/restore/next") for _, _, path in api.calls)
