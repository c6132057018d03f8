"""Streams and other large answers of a real process, and a platform that reads them slowly or not at all."""

from __future__ import annotations

import base64
import json
import signal
import time
from pathlib import Path

import pytest

from tests.hosts.scripted import PATIENCE, wait_for

pytestmark = pytest.mark.process

STREAM = """
import time
from warmstate import http_response
SENT = []
def handler(event, context):
    if event.get("http"):
        yield http_response(201, {"Content-Type": "text/plain"}, ["a=1"])
    try:
        for number in range(event["chunks"]):
            SENT.append(number)
            yield f"{number}," if not event.get("size") else b"x" * event["size"]
        if event.get("fail"):
            raise ValueError("after the last chunk")
    finally:
        print("finally", len(SENT), flush=True)
"""


BIG = """
from warmstate import StatefulHandler
class Handler(StatefulHandler):
    def handle(self, event, context): return "x" * event.get("size", 1)
    def before_shutdown(self, shutdown): print("before_shutdown", shutdown.interrupted, flush=True)
"""


class TestAPlatformThatStopsReading:
    """The sockets hold less than these answers, so a send is held up in the middle."""

    @pytest.fixture
    def deaf(self, api):
        """Makes the platform stop reading at the next answer, for good."""
        read = api._body
        began = []

        def stop_reading(lines, headers):
            if int(headers.get("content-length", 0)) < 1_000_000 and "transfer-encoding" not in headers:
                return read(lines, headers)
            began.append(headers)
            time.sleep(PATIENCE * 2)
            raise OSError

        api._body = stop_reading
        return began

    def test_the_deadline_ends_it(self, api, start, deaf):
        """The answer is lost, as the log says, and the next event is served by the same process."""
        runtime = start(BIG, "app.Handler")
        api.ask("1")
        api.send("2", {"size": 6_000_000}, seconds=2.0)
        wait_for(lambda: deaf)

        assert b'"x"' == api.ask("3").body
        wait_for(lambda: "time is up" in runtime.output)

    @pytest.mark.soak
    @pytest.mark.parametrize("transport", ["native", "requests"])
    def test_seconds_without_a_byte_end_it(self, api, start, deaf, transport):
        """Long before its deadline."""
        start(BIG, "app.Handler", WARMSTATE_TRANSPORT=transport)
        api.send("1", {"size": 6_000_000}, seconds=900)
        wait_for(lambda: deaf)

        assert b'"x"' == api.ask("2").body

    def test_sigterm_is_served_in_the_middle(self, api, start, deaf):
        """The handler is over, so the hook runs, and the process ends in order."""
        runtime = start(BIG, "app.Handler", WARMSTATE_SHUTDOWN_BUDGET="9")
        api.ask("1")
        api.send("2", {"size": 6_000_000}, seconds=900)
        wait_for(lambda: deaf)
        runtime.signal(signal.SIGTERM)

        assert 0 == runtime.ended()
        assert "before_shutdown False" in runtime.output

    def test_a_stream_ends_with_its_deadline(self, api, start, deaf):
        """However slow a client may be, the generator's finally block runs before the platform ends everything."""
        runtime = start(STREAM)
        api.send("1", {"chunks": 100, "size": 1_000_000}, seconds=3.0)
        wait_for(lambda: deaf)
        wait_for(lambda: "finally" in runtime.output)

        wait_for(lambda: "cut off" in runtime.output)


class TestStreams:
    def test_chunks_arrive(self, api, start):
        """What the generator yields is the body, under the headers of a stream."""
        start(STREAM)
        answer = api.ask("1", {"chunks": 5})

        assert (b"0,1,2,3,4,", {}) == (answer.body, answer.trailers)
        assert ("streaming", "chunked") == (
            answer.headers["lambda-runtime-function-response-mode"],
            answer.headers["transfer-encoding"],
        )
        assert "0," == api.ask("2", {"chunks": 1}).body.decode()

    def test_an_http_prelude(self, api, start):
        """Status, headers and cookies go first."""
        start(STREAM)
        answer = api.ask("1", {"chunks": 1, "http": 1})
        prelude, _, payload = answer.body.partition(b"\0" * 8)

        assert "application/vnd.awslambda.http-integration-response" == answer.headers["content-type"]
        assert {"statusCode": 201, "headers": {"Content-Type": "text/plain"}, "cookies": ["a=1"]} == json.loads(prelude)
        assert b"0," == payload

    def test_a_failure_after_fifty_chunks(self, api, start):
        """Fifty chunks and both trailers; the instance goes on."""
        runtime = start(STREAM)
        answer = api.ask("1", {"chunks": 50, "fail": 1})
        error = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))

        assert 50 == answer.body.count(b",")
        assert "ValueError" == answer.trailers["lambda-runtime-function-error-type"] == error["errorType"]
        assert "after the last chunk" == error["errorMessage"]
        assert b"0," == api.ask("2", {"chunks": 1}).body
        assert "finally 50" in runtime.output
        assert "[ERROR] ValueError: after the last chunk\rTraceback" in runtime.output

    def test_a_client_that_goes(self, api, start):
        """The generator is closed, its finally block runs, and the next event is served."""

        def leave(body):
            api.on_chunk = None
            raise OSError("gone")

        api.on_chunk = leave
        runtime = start(STREAM)
        api.send("1", {"chunks": 100_000, "size": 10_000}, seconds=600)
        wait_for(lambda: "finally" in runtime.output)

        assert b"0," == api.ask("2", {"chunks": 1}).body

    def test_a_slow_reader_slows_the_generator(self, api, start):
        """No more than what the sockets hold is made ahead."""
        read = []

        def slowly(body):
            read.append(len(body))
            if len(read) < 6:
                time.sleep(0.2)

        api.on_chunk = slowly
        runtime = start(STREAM.replace("SENT.append(number)", "SENT.append(number); print('made', number, flush=True)"))
        api.send("1", {"chunks": 40, "size": 1_000_000}, seconds=600)
        wait_for(lambda: len(read) >= 4)
        ahead = runtime.output.count("made") - len(read)
        answer = api.answer()

        assert 40_000_000 == len(answer.body)
        assert ahead <= 25

    def test_a_large_stream_needs_little_memory(self, api, start):
        """200 MB go through with less than 20 MB more than before."""
        import os

        api._body = swallow  # the scripted platform must not keep it
        runtime = start(STREAM)
        api.ask("1", {"chunks": 1})
        before = resident(runtime.pid)
        api.ask("2", {"chunks": 200, "size": 1_000_000}, seconds=600)

        assert resident(runtime.pid) - before < 20_000_000
        assert os.getpid() != runtime.pid


def swallow(lines, headers):
    if headers.get("transfer-encoding") != "chunked":
        return lines.read(int(headers.get("content-length", 0))), {}
    total = 0
    while size := int(lines.readline(), 16):
        total += size
        while size:
            size -= len(lines.read(min(size, 65536)))
        lines.readline()
    while lines.readline().strip():
        pass
    return str(total).encode(), {}


def resident(pid):
    """The most memory the process has had so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
