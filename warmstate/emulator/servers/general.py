"""Every request of HTTP/1.x that there is, by way of h11; the only module that knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11

from warmstate.emulator.servers.messages import BadRequest, End, Head, safe_value

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GeneralWire"]


class GeneralWire:
    """Reads a request of any kind, and writes its answer as its client understands it; see `messages.Wire`."""

    def __init__(self, head_bytes: int) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=head_bytes)

    @property
    def wants_continue(self) -> bool:
        return self._h11.they_are_waiting_for_100_continue

    @property
    def may_answer(self) -> bool:
        return self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    @property
    def is_over(self) -> bool:
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    @property
    def is_unread(self) -> bool:
        return self._h11.their_state in {h11.SEND_BODY, h11.ERROR}

    @property
    def rest(self) -> bytes:
        return self._h11.trailing_data[0] if self._h11.their_state is h11.DONE else b""

    def receive(self, data: bytes) -> None:
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise BadRequest(str(error), error.error_status_hint) from None

    def next_event(self) -> Head | bytes | End | None:
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise BadRequest(str(error), error.error_status_hint) from None
        if isinstance(event, h11.Request):
            return _head(event)
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return End([(name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers])
        return None

    def encode_continue(self) -> bytes:
        return self._encode(h11.InformationalResponse(status_code=100, headers=[]))

    def encode_head(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
        clean = [(name.encode("ascii"), safe_value(value).strip().encode()) for name, value in headers]
        return self._encode(h11.Response(status_code=status, headers=clean), h11.Data(data=body))

    def encode_body(self, data: bytes) -> bytes:
        return self._encode(h11.Data(data=data))

    def encode_end(self, trailers: Sequence[tuple[str, str]]) -> bytes:
        return self._encode(
            h11.EndOfMessage(
                headers=[(name.encode("ascii"), safe_value(value).strip().encode()) for name, value in trailers]
            )
        )

    def _encode(self, *events: h11.Event) -> bytes:
        return b"".join([self._h11.send(event) or b"" for event in events])


def _head(request: h11.Request) -> Head:
    """
    A request as we take it.

    Raises:
        BadRequest: Its length has two meanings, or it does not say whom it is for.
    """
    names = [name for name, _ in request.headers]
    if b"transfer-encoding" in names and b"content-length" in names:
        raise BadRequest("a request has either Content-Length or Transfer-Encoding, not both")
    if request.http_version == b"1.0" and b"host" not in names:
        raise BadRequest("the Host header is missing")
    # h11 bounds heads that come in pieces; one that came in a single read is measured by the connection.
    size = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
    headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers]
    return Head(request.method.decode("ascii"), request.target.decode("ascii", "replace"), headers, size)
