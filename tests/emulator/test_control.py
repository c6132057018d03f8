"""The control API: the verbs over HTTP, the journal as a stream, one document that describes it all."""

import json

import pytest
import requests

from warmstate.emulator.servers.control import BASE, ROUTES, find
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
    assert again["requestId"] != first.request_id


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
