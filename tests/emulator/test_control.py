"""The control API: the verbs over HTTP, the journal as a stream, one document that describes it all."""

import json
import sys

import pytest
import requests

from tests.emulator.conftest import CLIENTS, TASK_ROOT
from warmstate.emulator import Emulator, Function
from warmstate.emulator.servers.routes import BASE, ROUTES, find
from warmstate.wire.invoke_api import ApiError

pytestmark = pytest.mark.process


@pytest.fixture
def api(emulator):
    """Calls of the control API."""
    with requests.Session() as session:
        session.trust_env = False

        def call(method, path, **options):
            return session.request(method, f"{emulator.url}{BASE}{path}", timeout=30, **options)

        yield call


def test_document_describes_every_route(api):
    """The OpenAPI document has each operation that the server knows, and no other."""
    document = api("GET", "/openapi.json").json()
    operations = {op["operationId"] for methods in document["paths"].values() for op in methods.values()}

    assert document["openapi"].startswith("3.1")
    assert operations == {route.operation for route in ROUTES}
    assert document["components"]["schemas"]["Instance"]["properties"]["pid"] == {"type": ["integer", "null"]}


def check(value, schema, document, where="answer"):
    """Whether a value has the shape that the document promises: every field there, of its type, and no other."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        schema = schema["anyOf"][1 if value is None else 0]
        check(value, schema, document, where)
        return
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    python = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list}
    fits = [kind for kind in kinds if (value is None if kind == "null" else isinstance(value, python[kind]))]
    assert fits, f"{where} is {value!r}, not {kinds}"
    assert not (isinstance(value, bool) and "boolean" not in kinds), where
    for item in value if isinstance(value, list) else ():
        check(item, schema["items"], document, f"{where}[]")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        assert set(schema.get("required", [])) <= set(value), where
        assert schema.get("additionalProperties", True) or set(value) <= set(known), where
        for name, found in value.items():
            if name in known:
                check(found, known[name], document, f"{where}.{name}")


def test_every_operation_answers_as_the_document_says(emulator, make, api):
    """A walk over the document: each operation is called, and its answer has the promised shape; so have refusals."""
    make()
    emulator.invoke("plain", {"raise": "once"})
    emulator.freeze(seconds=1)
    document = api("GET", "/openapi.json").json()
    last = {"{function}": "plain", "{request_id}": "last"}
    walked = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            emulator.invoke("plain", {})
            names = last | {"{instance}": emulator.ps("plain")[0].instance}
            target = path
            for name, value in names.items():
                target = target.replace(name, value)
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            sent = dict.fromkeys(body.get("properties", {}), 1)
            content = operation["responses"]["200"]["content"]
            with api(method.upper(), target, json=sent, stream="text/event-stream" in content) as answer:
                kind = answer.headers["content-type"]
                assert kind in content
                if kind == "application/json" and answer.status_code == 200:
                    check(answer.json(), content[kind]["schema"], document)
                elif kind == "application/json":
                    assert operation["operationId"] == "state", answer.text  # this runtime writes nothing about itself
            with api("PATCH", target) as refused:
                refusal = operation["responses"]["default"]["content"]["application/json"]["schema"]
                assert refused.status_code == 405
                check(refused.json(), refusal, document)
            walked.add(operation["operationId"])
    assert walked == {route.operation for route in ROUTES}
    with api("GET", "/nothing/here") as unknown:
        assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/json")
        check(unknown.json(), {"$ref": "#/components/schemas/Error"}, document)


def test_stream_ends_with_a_word(make):
    """When the emulator ends, its listeners get the last events and a farewell, and nobody hangs."""
    runtime = [sys.executable, str(CLIENTS / "plain.py")]
    function = Function(name="plain", handler="x", task_root=TASK_ROOT, runtime=runtime)
    emulator = Emulator(functions=[function])
    with requests.get(f"{emulator.url}{BASE}/events/stream", stream=True, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines) == b"retry: 1000"
        emulator.invoke("plain", {})
        emulator.close()
        words = [line for line in lines if line.startswith(b"event: ")]
    assert words[-2:] == [b"event: warmstate.gone", b"event: bye"]


def test_stream_of_an_emulator_before_begins_anew(emulator, make, api):
    """An id beyond the newest event is that of an emulator before this one: everything is sent, not nothing."""
    make()
    emulator.invoke("plain", {})
    with api("GET", "/events/stream", stream=True, headers={"Last-Event-ID": "99999999"}) as answer:
        assert next(line for line in answer.iter_lines() if line.startswith(b"id: ")) == b"id: 1"


def test_verbs(emulator, make, api):
    """Every verb of the Python API works over HTTP."""
    make()
    assert api("POST", "/functions/plain/scale", json={"count": 1}).json()[0]["state"] == "frozen"
    name = emulator.ps("plain")[0].instance
    for verb, state in (
        ("thaw", "idle"),
        ("freeze", "frozen"),
        ("reset", "reset"),
        ("kill", "reset"),
        ("spindown", "gone"),
    ):
        assert api("POST", f"/instances/{name}/{verb}").json()[0]["state"] == state
    assert api("GET", "/instances", params={"function": "plain"}).json() == []
    assert api("GET", "/functions").json()[0]["name"] == "plain"


def test_invocations_can_be_seen_and_sent_again(emulator, make, api):
    """A recorded event can be looked at and replayed as a new invocation."""
    make()
    first = emulator.invoke("plain", {"a": 1})
    seen = api("GET", f"/invocations/{first.request_id[:8]}").json()
    again = api("POST", "/invocations/last/replay").json()

    assert json.loads(seen["event"]) == {"a": 1}
    assert seen["outcome"]["start"] == "cold"
    assert json.loads(again["outcome"]["payload"])["echo"] == {"a": 1}
    assert again["request_id"] != first.request_id


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/instances/i-999/freeze", 409),
        ("GET", "/instances/i-1/freeze", 405),
        ("GET", "/nothing", 404),
        ("GET", "/invocations/unknown", 404),
        ("GET", "/events?since=x", 400),
        ("POST", "/functions/none/scale", 404),
    ],
)
def test_what_cannot_be_done_says_why(make, api, method, path, status):
    """An error has a status, a name and a message."""
    make()
    answer = api(method, path, **({"json": {"count": 1}} if method == "POST" else {}))
    assert answer.status_code == status
    assert answer.json()["message"]


@pytest.mark.parametrize(
    "body", ["[", "[]", '{"count": "x"}', '{"count": -1}', '{"count": NaN}', '{"count": true}', "{}", "[" * 50_000]
)
def test_bad_bodies_are_refused(make, api, body):
    """A body of the wrong shape is a 400, whatever it is."""
    make()
    assert api("POST", "/functions/plain/scale", data=body).status_code == 400


def test_stream_continues_where_it_was_left(emulator, make, api):
    """Server-sent events carry ids; a client that comes back with the last one misses nothing and gets nothing twice."""
    make()
    emulator.invoke("plain", {})
    ids = []
    for start in (0, None):
        headers = {} if start == 0 else {"Last-Event-ID": str(ids[-1])}
        with api("GET", "/events/stream", stream=True, headers=headers) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            found = 0
            for line in answer.iter_lines():
                if line.startswith(b"id: "):
                    ids.append(int(line[4:]))
                    found += 1
                    if found == 3:
                        break
    assert ids == list(range(ids[0], ids[0] + 6))


def test_stream_is_live(emulator, make, api):
    """An event that happens while a client listens reaches it at once, filtered by its wish."""
    make()
    with api(
        "GET", "/events/stream", stream=True, params={"since": emulator.events.last_id, "type": "platform.start"}
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        sent = emulator.invoke("plain", {})
        data = next(line for line in lines if line.startswith(b"data: "))
    assert json.loads(data[6:])["record"]["requestId"] == sent.request_id


def test_routes_decode_their_parameters():
    """Parameters are decoded after the path was cut, so that a slash in a name cannot make another path."""
    assert find("POST", "/functions/a%2Fb/scale")[1] == {"function": "a/b"}
    with pytest.raises(ApiError):
        find("POST", "/functions/a/b/scale")
