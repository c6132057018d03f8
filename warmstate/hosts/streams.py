"""A streamed answer, chunk by chunk: the platform's slowness reaches the handler, the handler's failure the caller."""

from __future__ import annotations

from os import _exit, getpid

from warmstate.errors import TransportError
from warmstate.wire.failure import failure_from
from warmstate.wire.streaming import LAST_CHUNK, chunk_head, error_trailers, streamed_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.hosts.http11 import Reply
    from warmstate.hosts.transport import NativeTransport
    from warmstate.lifecycle.notices import Notices
    from warmstate.wire.runtime_api import Failure, Invocation, Request, StreamedSuccess

__all__ = ["Stream", "send_stream"]


class Stream:
    """
    A streamed answer on its way: `send` chunks, then `finish` with the body's end, once; `close` gives up.

    A send blocks while the platform does not read, which is how its slowness reaches the handler.
    A child that the handler forked between two chunks ends here, before it says anything.
    """

    __slots__ = ("_pid", "_transport")

    def __init__(self, transport: NativeTransport, request: Request) -> None:
        """
        Send the head of `request` over `transport`, which must be of this stream's own.

        Raises:
            TransportError: the connection cannot be made.
        """
        self._pid = getpid()
        self._transport = transport
        transport.send_unread(request)

    def send(self, data: bytes) -> None:
        """
        Send bytes of the body, framing included.

        Raises:
            TransportError: the platform no longer takes them.
        """
        if getpid() != self._pid:
            _exit(70)
        self._transport.send(data)

    def finish(self, end: bytes) -> Reply:
        """
        Send the end of the body and read the reply.

        Raises:
            TransportError: the platform no longer takes it, or gave no answer.
        """
        try:
            self.send(end)
            return self._transport.read_reply()
        finally:
            self.close()

    def close(self) -> None:
        """End the connection; a body that was not finished counts as truncated."""
        self._transport.close()


def send_stream(
    transport: NativeTransport,
    invocation: Invocation,
    streamed: StreamedSuccess,
    notices: Notices,
    failed: Callable[[Failure], object],
) -> Reply | None:
    """
    Send the chunks as they come, and the terminating one only when the handler's code is over and committed.

    A handler that fails after the first byte ends the body with the two error trailers; `failed` is told how.
    When the client or the platform no longer reads, the generator is closed, so that its `finally` blocks run.
    Returns the platform's reply, or None when there was none.
    """
    chunks = streamed.chunks
    try:
        stream = Stream(transport.separate(), streamed_request(invocation, streamed))
    except TransportError as error:
        _close(chunks)
        notices.error(f"The streamed answer could not be begun: {error}")
        return None
    end = LAST_CHUNK
    try:
        while True:
            try:
                chunk = next(chunks)
            except StopIteration:
                break
            except BaseException as error:  # noqa: BLE001 - user code may raise anything
                failure = failure_from(error, request_id=invocation.request_id)
                failed(failure)
                end = error_trailers(failure)
                break
            if chunk:
                stream.send(chunk_head(len(chunk)) + chunk + b"\r\n")
        return stream.finish(end)
    except TransportError as error:
        notices.warning(f"The streamed answer was cut off, nobody reads it: {error}")
        return None
    finally:
        stream.close()
        _close(chunks)


def _close(chunks: object) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
