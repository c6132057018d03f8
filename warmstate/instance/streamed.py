"""
An answer that is sent while it is made: the items of a generator, and the commit at their end.

1. The last chunk is the answer: everything commits after the generator has ended and before the terminating chunk. Earlier
   chunks are provisional.
2. The first item is made before anything is sent, so a handler that fails at once fails as any other does.
3. The generator is asked for the next item only when the last one is sent: a slow reader slows it down.
4. However it ends (at its end, by an exception, because the client is gone or the deadline is near), the generator is closed, so
   its `finally` blocks run, and what it changed is committed or rolled back.
"""

from __future__ import annotations

from warmstate.errors import AnswerEncodeError, DeadlinePassed
from warmstate.wire.failure import describe
from warmstate.wire.runtime_api import StreamedSuccess
from warmstate.wire.streaming import HTTP_CONTENT_TYPE, HttpResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmstate.instance.answer import Answer
    from warmstate.instance.serving import Serving
    from warmstate.instance.user_code import UserCode

__all__ = ["Stream"]

_CLOSING_SECONDS = 0.1
"""So long before the deadline a stream is ended, while its `finally` blocks and the error trailers still have time."""
_END = object()


class Stream:
    """One streamed answer on its way; `start` makes its first chunk."""

    __slots__ = ("_answer", "_items", "_over", "_serving")

    def __init__(self, serving: Serving, answer: Answer, code: UserCode, generator: object) -> None:
        self._serving = serving
        self._answer = answer
        self._items = code.iterate(generator, self._seconds_left if answer.context.deadline_trusted else None)
        self._over = False

    def __repr__(self) -> str:
        return f"<Stream for {self._answer.invocation.request_id}, {'over' if self._over else 'running'}>"

    def start(self) -> StreamedSuccess:
        """
        Make the first chunk and return the answer that carries on from there.

        Raises:
            BaseException: Whatever the generator raised before its first item; it is closed.
        """
        try:
            first = next(self._items, _END)
            if isinstance(first, HttpResponse):
                return StreamedSuccess(self._chunks(first.prelude()), HTTP_CONTENT_TYPE)
            return StreamedSuccess(self._chunks(b"" if first is _END else _chunk_of(first), ended=first is _END))
        except BaseException:
            self._over = True
            self._close_items()
            raise

    def end(self) -> None:
        """Make sure that it is over, also where nobody took its chunks; what was not concluded is rolled back."""
        if not self._over:
            self._stop(DeadlinePassed("the streamed answer was not taken to its end: nothing of it is committed"))

    def _chunks(self, first: bytes, *, ended: bool = False) -> Iterator[bytes]:
        answer = self._answer
        scope = answer.scope
        context = answer.context
        items = self._items
        try:
            if first:
                yield first
            while not ended:
                if context.deadline_trusted and context.remaining <= _CLOSING_SECONDS:
                    raise DeadlinePassed(
                        "the deadline came before the stream's end: it was ended, nothing of it is committed"
                    )
                item = scope.run(next, items, _END)
                if item is _END:
                    break
                chunk = _chunk_of(item)
                if chunk:  # an empty one would end the body on the wire
                    yield chunk
            scope.run(self._serving.conclude_stream, answer)
        except BaseException as error:
            self._stop(error)
            raise
        self._over = True
        self._serving.leave(answer)

    def _seconds_left(self) -> float:
        return max(0.0, self._answer.context.remaining - _CLOSING_SECONDS)

    def _stop(self, error: BaseException) -> None:
        self._over = True
        answer = self._answer
        try:
            answer.scope.run(self._close_items)
        finally:
            answer.scope.run(self._serving.fail, answer, error)
            self._serving.leave(answer)

    def _close_items(self) -> None:
        close = getattr(self._items, "close", None)
        if close is None:
            return
        try:
            close()
        except BaseException as error:  # noqa: BLE001 - the stream has failed already; this is the second voice
            self._serving.complain(
                f"Closing the generator of a streamed answer failed: {describe(error)}", self._answer
            )


def _chunk_of(item: object) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode("utf-8", "backslashreplace")
    if isinstance(item, bytearray):
        return bytes(item)
    if isinstance(item, memoryview):
        return item.tobytes()
    if isinstance(item, HttpResponse):
        raise AnswerEncodeError(
            "http_response(...) must be the first item of a streamed answer: the head of the answer is out"
        )
    raise AnswerEncodeError(
        f"a streamed answer is made of bytes and text, and the generator yielded {type(item).__name__}: encode it first, for "
        "example json.dumps(item)"
    )
