"""One delivery of an invocation: what the runtime is given, and the answer that comes back."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import os
import time
import uuid
from typing import TYPE_CHECKING, Final, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["NEW", "Answer", "Attempt", "StartKind", "error_payload"]

StartKind = Literal["cold", "warm", "thaw", "reset", "restore", "provisioned"]

NEW: Final = "new"
"""Instead of an instance's name: one that starts for this event."""
STREAM_BUFFER: Final = 64
"""Pieces of a streamed answer kept for a slow caller; then the function waits."""


def error_payload(error_type: str, message: str) -> bytes:
    """The JSON error object that a caller gets."""
    return json.dumps({"errorType": error_type, "errorMessage": message}).encode()


@attrs.frozen
class Answer:
    """
    What the caller gets.

    `error_type` is "" when the function succeeded; otherwise `payload` is the JSON error object.
    """

    payload: bytes
    content_type: str = "application/json"
    error_type: str = ""


class Attempt:
    """
    One event on its way through an environment.

    `answer` is done as soon as the caller can be told; a streamed answer is read from `pieces` before that.
    """

    def __init__(
        self,
        payload: bytes,
        *,
        request_id: str = "",
        content_type: str = "application/json",
        client_context: str | None = None,
        tenant_id: str | None = None,
        trace_id: str | None = None,
        qualifier: str = "",
        streaming: bool = False,
        on_instance: str = "",
    ) -> None:
        self.payload: Final = payload
        self.request_id: Final = request_id or str(uuid.uuid4())
        self.invocation_id: Final = str(uuid.uuid4())
        self.content_type: Final = content_type
        self.client_context: Final = client_context
        self.tenant_id: Final = tenant_id
        self.trace_id: Final = trace_id or new_trace_id()
        self.qualifier: Final = qualifier
        self.streaming: Final = streaming
        self.on_instance: Final = on_instance
        self.answer: Final[asyncio.Future[Answer]] = asyncio.get_running_loop().create_future()
        self.started: Final[asyncio.Future[str]] = asyncio.get_running_loop().create_future()
        """Done with the content type when a streamed answer begins."""
        self.on_answer: Callable[[], None] = lambda: None
        """Called as soon as the answer is there, without a turn of the event loop in between."""
        self.start: StartKind = "warm"
        self.instance = ""
        self.deadline = 0.0
        """On the event loop's clock; set at the delivery."""
        self.duration_ms = 0.0
        self.init_ms: float | None = None
        self.restore_ms: float | None = None
        self.max_memory_mb = 0
        self.init_failed = False
        """The function did not even start."""
        self.failure = ""
        """The error type with which the invoke phase ended, where that was not the function's answer."""
        self.log_tail = b""
        """The last 4 KB of the invocation's log; there when it is done."""
        self.abandoned = False
        """The caller of a streamed answer has gone; what still comes is dropped."""
        self._end: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Attempt {self.request_id} on {self.instance or 'no instance yet'}>"

    @property
    def billed_ms(self) -> int:
        """Milliseconds that Lambda would bill: duration, init and restore, rounded up."""
        return math.ceil(self.duration_ms + (self.init_ms or 0.0)) + math.ceil(self.restore_ms or 0.0)

    @functools.cached_property
    def _pieces(self) -> asyncio.Queue[bytes | None]:
        return asyncio.Queue(STREAM_BUFFER)

    def succeed(self, payload: bytes, content_type: str) -> None:
        """The whole answer is here."""
        self._settle(Answer(payload, content_type))

    def fail(self, error_type: str, payload: bytes) -> None:
        """The function failed, or the platform gave up on it; nothing when it was answered already."""
        self._settle(Answer(payload, error_type=error_type or "Unhandled"))

    def _settle(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)
            if self.streaming:
                self._end_pieces()
            self.on_answer()

    def begin_stream(self, content_type: str) -> None:
        """The first byte of a streamed answer is about to come."""
        if not self.started.done():
            self.started.set_result(content_type)

    async def push(self, piece: bytes) -> None:
        """A piece of a streamed answer; waits while the caller does not keep up."""
        if piece and not self.abandoned and not self.answer.done():
            await self._pieces.put(piece)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The streamed answer as it comes; then `answer` tells how it ended."""
        while (piece := await self._pieces.get()) is not None:
            yield piece

    def abandon(self) -> None:
        """The caller has gone: let the function run on without waiting for a reader."""
        self.abandoned = True
        while not self._pieces.empty():
            self._pieces.get_nowait()

    def _end_pieces(self) -> None:
        try:
            self._pieces.put_nowait(None)
        except asyncio.QueueFull:  # the reader is behind: the end must follow what it has not read yet
            self._end = asyncio.get_running_loop().create_task(self._pieces.put(None))


def new_trace_id() -> str:
    """A trace header as X-Ray writes it, not sampled."""
    bits = os.urandom(20).hex()
    return f"Root=1-{int(time.time()):08x}-{bits[:24]};Parent={bits[24:]};Sampled=0"
