"""What a platform does to a runtime: each row is one answer, or one silence, that is not in the protocol."""

from __future__ import annotations

import gzip
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.hosts.scripted import event as event_in_time, http

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PROTOCOL_FAULTS", "ProtocolFault"]


class ProtocolFault(NamedTuple):
    """
    `next_` answers the faulty `next`; `replies` answer the posts that follow it.

    `outcome`: "answered" (the faulty event gets its answer), "refused" (it gets an error), "skipped" (it gets none, and the
    next event is answered by the same process), "ended" (the process ends by itself, not by a signal), or "any" of them.
    `repeat` sends the faulty answer more than once; `error_type` is what the caller of a refused event must see.
    """

    id: str
    name: str
    next_: bytes | Callable[[socket.socket], bool] | None
    outcome: str
    replies: tuple[bytes | Callable[[socket.socket], bool], ...] = ()
    repeat: int = 1
    error_type: str | None = None


def event(request_id, body, *, seconds=3600.0, **headers):
    """An event that does not run late while the corpora run."""
    return event_in_time(request_id, body, seconds=seconds, **headers)


def say(data, *, end="close"):
    """Say these bytes and then end the connection, reset it, or keep it open."""

    def speak(connection):
        if end == "close":
            # Corked, the last bytes and the end leave as one: an answer cannot come between them.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        connection.sendall(data)
        if end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            return False
        if end == "close":
            connection.shutdown(socket.SHUT_RDWR)
            return False
        return True

    return speak


def slowly(data, pause=0.01):
    def speak(connection):
        for at in range(0, len(data), 7):
            connection.sendall(data[at : at + 7])
            time.sleep(pause)
        return True

    return speak


def head(*lines, body=b""):
    """A raw answer of these header lines."""
    known = [b"HTTP/1.1 200 OK", b"Lambda-Runtime-Aws-Request-Id: faulty", b"Lambda-Runtime-Deadline-Ms: %d" % FAR]
    return b"\r\n".join([*known, *lines, b"", b""]) + body


FAR = int(time.time() * 1000) + 600_000
GOOD = b'{"size": 0}'
STREAM = b'{"size": 9, "stream": true}'
P = ProtocolFault

PROTOCOL_FAULTS = (
    P("P3", "an ordinary event", event("faulty", GOOD), "answered"),
    P("P4", "a redirect", http(302, b"", Location="http://127.0.0.1:1/"), "skipped"),
    P("P4", "a redirect, for ever", http(302, b"", Location="http://127.0.0.1:1/"), "ended", repeat=40),
    P("P5", "a gzip body", event("faulty", gzip.compress(GOOD), Content_Encoding="gzip"), "refused", error_type="Runtime.InvalidEvent"),
    P("P5", "an unknown encoding", event("faulty", GOOD, Content_Encoding="br"), "refused", error_type="Runtime.InvalidEvent"),
    P("P6", "no content type", event("faulty", GOOD, Content_Type=None), "answered"),
    P("P6", "an empty content type", event("faulty", GOOD, Content_Type=""), "answered"),
    P("P7", "an empty body", event("faulty", b""), "refused", error_type="Runtime.UnmarshalError"),
    P("P8", "no JSON", event("faulty", b"<xml/>"), "refused", error_type="Runtime.UnmarshalError"),
    P("P8", "invalid UTF-8", event("faulty", b'{"a": "\xff"}'), "refused", error_type="Runtime.UnmarshalError"),
    P("P8", "a byte order mark", event("faulty", b"\xef\xbb\xbf" + GOOD), "answered"),
    P("P8", "UTF-16", event("faulty", GOOD.decode().encode("utf-16")), "refused", error_type="Runtime.UnmarshalError"),
    P("P8", "a body cut short by its length", event("faulty", b'{"size": '), "refused", error_type="Runtime.UnmarshalError"),
    P("P8", "a text without end", event("faulty", b'"abc'), "refused", error_type="Runtime.UnmarshalError"),
    P("P8", "an object without values", event("faulty", b"{1}"), "refused", error_type="Runtime.UnmarshalError"),
    P("P9", "NaN", event("faulty", b'{"size": NaN}'), "refused", error_type="Runtime.UnmarshalError"),
    P("P9", "a number too large", event("faulty", b'{"size": 1e999}'), "refused", error_type="Runtime.UnmarshalError"),
    P("P10", "100,000 levels", event("faulty", b"[" * 100_000 + b"]" * 100_000), "refused", error_type="Runtime.UnmarshalError"),
    P("P11", "5,000 digits", event("faulty", b"1" * 5000), "refused", error_type="Runtime.UnmarshalError"),
    P("P12", "equal keys", event("faulty", b'{"size": 5, "size": 0}'), "answered"),
    P("P13", "an event of 9 MB", event("faulty", b'"' + b"x" * 9_000_000 + b'"'), "refused", error_type="Runtime.InvalidEvent"),
    P("P13", "an event of 6 MB", event("faulty", b'{"size": 0, "x": "' + b"x" * 6_000_000 + b'"}'), "answered"),
    P("P13", "a length of 100 GB", say(head(b"Content-Length: 99999999999"), end="close"), "refused", error_type="Runtime.InvalidEvent"),
    P("P14", "no request id", event("faulty", GOOD, Lambda_Runtime_Aws_Request_Id=None), "skipped"),
    P("P14", "an empty request id", event("", GOOD), "skipped"),
    P("P14", "no request id, for ever", event("", GOOD), "ended", repeat=4),
    P("P15", "a request id that climbs", event("../../init/error", GOOD), "skipped"),
    P("P15", "a request id with spaces", event("a b", GOOD), "skipped"),
    P("P15", "a request id of 5 KB", event("x" * 5000, GOOD), "skipped"),
    P("P16", "two request ids", say(head(b"Lambda-Runtime-Aws-Request-Id: other", b"Content-Length: 11", body=GOOD), end="open"), "skipped"),
    P("P17", "no deadline", event("faulty", GOOD, Lambda_Runtime_Deadline_Ms=None), "answered"),
    P("P17", "a deadline of text", event("faulty", GOOD, Lambda_Runtime_Deadline_Ms="soon"), "answered"),
    P("P17", "a negative deadline", event("faulty", GOOD, Lambda_Runtime_Deadline_Ms="-1"), "answered"),
    P("P17", "a deadline of 10^30", event("faulty", GOOD, Lambda_Runtime_Deadline_Ms="1" + "0" * 30), "answered"),
    P("P18", "a deadline that has passed", event("faulty", GOOD, seconds=-5), "refused", error_type="Runtime.DeadlinePassed"),
    P("P19", "a client context that is no JSON", event("faulty", GOOD, Lambda_Runtime_Client_Context="{"), "refused", error_type="Runtime.LambdaContextUnmarshalError"),
    P("P19", "a client context of another type", event("faulty", GOOD, Lambda_Runtime_Client_Context="[1]"), "refused", error_type="Runtime.LambdaContextUnmarshalError"),
    P("P19", "an identity that is no JSON", event("faulty", GOOD, Lambda_Runtime_Cognito_Identity="nope"), "refused", error_type="Runtime.LambdaContextUnmarshalError"),
    P("P19", "an identity of another type", event("faulty", GOOD, Lambda_Runtime_Cognito_Identity='"x"'), "refused", error_type="Runtime.LambdaContextUnmarshalError"),
    P("P19", "a client context and an identity of null", event("faulty", GOOD, Lambda_Runtime_Client_Context="null", Lambda_Runtime_Cognito_Identity="null"), "answered"),
    P("P19", "headers that are empty", event("faulty", GOOD, Lambda_Runtime_Client_Context="", Lambda_Runtime_Cognito_Identity="", Lambda_Runtime_Trace_Id="", Lambda_Runtime_Aws_Tenant_Id="", Lambda_Runtime_Invocation_Id=""), "answered"),
    P("P20", "UTF-8 in a header", say(head("X-Name: bücher".encode(), b"Content-Length: 11", body=GOOD), end="open"), "answered"),
    P("P20", "latin-1 in a header", say(head(b"X-Name: b\xfccher", b"Content-Length: 11", body=GOOD), end="open"), "answered"),
    P("P21", "101 headers", event("faulty", GOOD, **{f"X_{number}": "v" for number in range(101)}), "any"),
    P("P21", "a header of 70 KB", event("faulty", GOOD, X_Long="x" * 70_000), "any"),
    P("P21", "headers without end", say(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 400_000, end="close"), "any"),
    P("P21", "a folded header", say(head(b"X-One: a", b" b", b"Content-Length: 11", body=GOOD)), "any"),
    P("P22", "a body that ends early", say(head(b"Content-Length: 100", body=GOOD)), "skipped"),
    P("P22", "a reset inside the body", say(head(b"Content-Length: 100", body=GOOD), end="reset"), "skipped"),
    P("P22", "a reset inside the head", say(b"HTTP/1.1 200 OK\r\nContent-", end="reset"), "skipped"),
    P("P22", "a broken chunk", say(head(b"Transfer-Encoding: chunked", body=b"zz\r\n")), "skipped"),
    P("P22", "a chunk that ends early", say(head(b"Transfer-Encoding: chunked", body=b"ff\r\nabc")), "skipped"),
    P("P22", "a negative chunk", say(head(b"Transfer-Encoding: chunked", body=b"-5\r\nabc")), "skipped"),
    P("P22", "good chunks", say(head(b"Transfer-Encoding: chunked", body=b"5\r\n" + GOOD[:5] + b"\r\n6\r\n" + GOOD[5:] + b"\r\n0\r\n\r\n"), end="open"), "answered"),
    P("P22", "a body byte by byte", slowly(event("faulty", GOOD)), "answered"),
    P("P23", "two lengths", say(head(b"Content-Length: 11", b"Content-Length: 12", body=GOOD)), "skipped"),
    P("P23", "a length and chunks", say(head(b"Content-Length: 11", b"Transfer-Encoding: chunked", body=GOOD)), "skipped"),
    P("P23", "a length that is no number", say(head(b"Content-Length: eleven", body=GOOD)), "skipped"),
    P("P23", "no length, to the end", say(head(b"Connection: close", body=GOOD)), "answered"),
    P("P24", "nothing, closed", say(b""), "skipped"),
    P("P24", "nothing, reset", say(b"", end="reset"), "skipped"),
    P("P24", "nothing, for ever", say(b"", end="reset"), "ended", repeat=40),
    P("P24", "a status line of nonsense", say(b"\x16\x03\x01 hello\r\n\r\n"), "skipped"),
    P("P24", "a status of nonsense", say(b"HTTP/1.1 abc OK\r\n\r\n"), "skipped"),
    P("P24", "HTTP/1.0", say(b"HTTP/1.0 200 OK\r\nLambda-Runtime-Aws-Request-Id: faulty\r\nContent-Length: 11\r\n\r\n" + GOOD), "answered"),
    P("P25", "500", http(500, b'{"errorType": "x"}'), "ended"),
    P("P26", "403", http(403, b"{}"), "skipped"),
    P("P26", "404", http(404, b""), "skipped"),
    P("P26", "503", http(503, b""), "skipped"),
    P("P26", "204", b"HTTP/1.1 204 No Content\r\n\r\n", "skipped"),
    P("P26", "403, for ever", http(403, b"{}"), "ended", repeat=40),
    P("P26", "204, for ever", b"HTTP/1.1 204 No Content\r\n\r\n", "ended", repeat=40),
    P("P26", "an interim answer first", say(b"HTTP/1.1 100 Continue\r\n\r\n" + event("faulty", GOOD), end="open"), "answered"),
    P("P27", "413 to the answer", event("faulty", b'{"size": 5000000}'), "answered", replies=(http(413, b"{}"),)),
    P("P28", "400 to the answer", event("faulty", GOOD), "answered", replies=(http(400, b"{}"),)),
    P("P28", "403 to the answer", event("faulty", GOOD), "answered", replies=(http(403, b"{}"),)),
    P("P28", "410 to the answer", event("faulty", GOOD), "answered", replies=(http(410, b"{}"),)),
    P("P28", "500 to the answer", event("faulty", GOOD), "ended", replies=(http(500, b"{}"),)),
    P("P28", "403 to the error", event("faulty", b"no"), "refused", replies=(http(403, b"{}"),)),
    P("P29", "no answer to the answer", event("faulty", GOOD), "answered", replies=(say(b""),)),
    P("P29", "a reset to the answer", event("faulty", GOOD), "answered", replies=(say(b"", end="reset"),)),
    P("P29", "nonsense to the answer", event("faulty", GOOD), "answered", replies=(say(b"?\r\n\r\n"),)),
    P("P30", "the same event twice", event("faulty", GOOD), "answered", repeat=2),
    P("P34", "a connection closed after the event", say(event("faulty", GOOD)), "answered"),
    P("P35", "a stream", event("faulty", STREAM), "answered"),
    P("P35", "400 to a stream", event("faulty", STREAM), "answered", replies=(http(400, b"{}"),)),
    P("P35", "403 to a stream", event("faulty", STREAM), "answered", replies=(http(403, b"{}"),)),
    P("P35", "410 to a stream", event("faulty", STREAM), "answered", replies=(http(410, b"{}"),)),
    P("P35", "413 to a stream", event("faulty", STREAM), "answered", replies=(http(413, b"{}"),)),
    P("P35", "500 to a stream", event("faulty", STREAM), "ended", replies=(http(500, b"{}"),)),
    P("P35", "no answer to a stream", event("faulty", STREAM), "answered", replies=(say(b""),)),
    P("P35", "nonsense to a stream", event("faulty", STREAM), "answered", replies=(say(b"?\r\n\r\n"),)),
    P("P35", "a reset to a stream", event("faulty", STREAM), "answered", replies=(say(b"", end="reset"),)),
)  # fmt: skip
