"""Streamed answers that fail, hang or are not taken: they end, their invocation is over, and the next one is served."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.instance.driving import PATIENCE, serve
from warmstate import State, StatefulHandler, http_response, state
from warmstate.errors import AnswerEncodeError, DeadlinePassed
from warmstate.testing.told import Told
from warmstate.wire.runtime_api import Invocation


class Streaming(StatefulHandler):
    """Streams what the event asks for."""

    def __init__(self) -> None:
        self.log = []

    def handle(self, event, context):
        try:
            if event.get("fail") == "first":
                raise ValueError("at once")
            yield "one "
            if event.get("fail") == "later":
                raise ValueError("in the middle")
            if event.get("odd"):
                yield {"not": "text"}
            yield b"two"
        finally:
            self.log.append("closed")


class AsyncStreaming(StatefulHandler):
    concurrency = "async"

    def __init__(self) -> None:
        self.log = []

    async def handle(self, event, context):
        try:
            yield "one "
            await asyncio.sleep(PATIENCE * 2)
            yield "two"
        finally:
            self.log.append("closed")


@pytest.mark.parametrize("many", [None, 2])
def test_a_stream_that_fails_at_once_is_over(begun, many) -> None:
    """It fails as any handler does: nothing runs any more, and where one invocation waits for the other it need not wait."""
    instance = begun(Streaming, many=many)

    assert "ValueError" == serve(instance, event=b'{"fail": "first"}').error_type
    assert [] == instance.in_flight
    assert ["one ", "two"] == [chunk.decode() for chunk in serve(instance)]


@pytest.mark.parametrize("many", [None, 2])
def test_a_stream_that_fails_later_is_over_too(begun, many) -> None:
    """The error reaches whoever takes the chunks, the generator is closed, the next event is served."""
    instance = begun(Streaming, many=many)
    chunks = serve(instance, event=b'{"fail": "later"}')

    assert (b"one ", "in the middle") == (chunks[0], str(chunks[1]))
    assert (["closed"], []) == (instance.handler.log, instance.in_flight)
    assert 2 == len(serve(instance))


@pytest.mark.parametrize("many", [None, 2])
def test_an_async_stream_that_hangs_ends_before_the_deadline(begun, many) -> None:
    """Its `finally` runs, nothing commits, and the trailers still have time."""
    instance = begun(AsyncStreaming, many=many)
    chunks = serve(instance, seconds=1.0)

    assert b"one " == chunks[0]
    assert isinstance(chunks[1], DeadlinePassed)
    assert ["closed"] == instance.handler.log


class Wordless(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class Sulking(StatefulHandler):
    def handle(self, event, context):
        try:
            yield "one"
            yield "two"
        finally:
            raise Wordless


def test_a_stream_whose_end_fails_without_words_is_over(begun) -> None:
    """Its client is gone, and closing it raises what cannot even be told: the log has its name, and nothing of it runs on."""
    told = Told(lambda *_: None)
    instance = begun(Sulking, notices=told)
    answer = instance.invoke(Invocation("r-1", b"{}", deadline_ms=int((time.time() + PATIENCE) * 1000)))
    next(answer.outcome.chunks)
    answer.outcome.chunks.close()
    instance.finish(answer)

    assert [] == instance.in_flight
    assert [
        ("error", "Closing the generator of a streamed answer failed: Wordless: <unprintable Wordless>")
    ] == told.said


def test_what_is_no_text_cannot_be_streamed(begun) -> None:
    """The error says what to do instead."""
    chunks = serve(begun(Streaming), event=b'{"odd": 1}')

    assert isinstance(chunks[1], AnswerEncodeError)
    assert "json.dumps" in str(chunks[1])


def test_an_object_that_can_send_is_no_stream(begun) -> None:
    """Only generators stream; anything else that has a `send` is an answer like others, here one that JSON cannot hold."""

    class Socket:
        def send(self):
            """As sockets have."""

    assert "Runtime.MarshalError" == serve(begun(lambda _event, _context: Socket())).error_type


def test_a_prelude_alone_is_an_answer(begun) -> None:
    """A generator may end after its HTTP head."""

    def handle(_event, _context):
        yield http_response(204)

    chunks = serve(begun(handle))

    assert chunks[0].startswith(b'{"statusCode":204') or b'"statusCode": 204' in chunks[0]
    assert 1 == len(chunks)


class Committing(StatefulHandler):
    parts: State[int] = state(default=0, survives="reset")

    def handle(self, event, context):
        for _ in range(3):
            self.parts += 1
            yield f"{self.parts} "
            if event.get("fail"):
                raise ValueError("after the first")


def test_a_stream_commits_at_its_end_or_not_at_all(warm) -> None:
    """What a stream counted before it failed is not there afterwards; what a whole one counted survives a reset."""
    platform = warm(Committing)
    assert b"1 2 3 " == platform.invoke({}).payload
    failed = platform.invoke({"fail": True})
    platform.reset()

    assert ((b"4 ",), "ValueError") == (failed.chunks, failed.error_type)
    assert b"4 5 6 " == platform.invoke({}).payload
