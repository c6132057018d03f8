"""The Runtime API, version 2018-06-01, as values: the invocation that comes in, the answers that go out."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_ANSWER_BYTES", "Failure", "Invocation", "StreamedSuccess", "Success"]

MAX_ANSWER_BYTES = 6_291_556
"""The largest buffered answer the platform takes: 6 MiB and 100 bytes (observed on AWS's Runtime Interface Emulator)."""


class Invocation:
    """
    One delivery of an event, as `next` handed it over.

    `request_id` names the logical request and may come again in a retry; `invocation_id` names this delivery and is
    echoed with the answer (None where the platform sends none).
    `deadline_ms` is in milliseconds since the epoch on the wall clock; `deadline_trusted` is False when the platform sent
    none that could be used and a default was put in its place.
    `client_context` and `cognito_identity` are JSON text as received.
    """

    __slots__ = (
        "body",
        "client_context",
        "cognito_identity",
        "content_type",
        "deadline_ms",
        "deadline_trusted",
        "function_arn",
        "invocation_id",
        "request_id",
        "tenant_id",
        "trace_id",
    )

    def __init__(
        self,
        request_id: str,
        body: bytes,
        *,
        deadline_ms: int,
        deadline_trusted: bool = True,
        function_arn: str = "",
        invocation_id: str | None = None,
        trace_id: str | None = None,
        tenant_id: str | None = None,
        client_context: str | None = None,
        cognito_identity: str | None = None,
        content_type: str = "application/json",
    ) -> None:
        self.request_id = request_id
        self.body = body
        self.deadline_ms = deadline_ms
        self.deadline_trusted = deadline_trusted
        self.function_arn = function_arn
        self.invocation_id = invocation_id
        self.trace_id = trace_id
        self.tenant_id = tenant_id
        self.client_context = client_context
        self.cognito_identity = cognito_identity
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"<Invocation {self.request_id} ({len(self.body)} bytes)>"


class Success:
    """A whole answer: the bytes for the caller and their content type."""

    __slots__ = ("body", "content_type")

    def __init__(self, body: bytes, content_type: str = "application/json") -> None:
        self.body = body
        self.content_type = content_type


class StreamedSuccess:
    """
    An answer that is sent as its chunks come.

    `chunks` raises when the handler fails after the first byte; the commit happens inside it, after the last chunk of
    the handler and before it stops, so whoever drives it sends the terminating chunk only after it has ended.
    Close it (`chunks.close()`) when the client is gone, so that the handler's `finally` blocks run.
    """

    __slots__ = ("chunks", "content_type")

    def __init__(self, chunks: Iterator[bytes], content_type: str = "application/octet-stream") -> None:
        self.chunks = chunks
        self.content_type = content_type


class Failure:
    """
    A failed invocation: `error_type` for the platform's telemetry, `body` the JSON error object that reaches the caller.

    `xray_cause` is the X-Ray error cause as one line of header-safe JSON, or None.
    """

    __slots__ = ("body", "error_type", "xray_cause")

    def __init__(self, error_type: str, body: bytes, xray_cause: str | None = None) -> None:
        self.error_type = error_type
        self.body = body
        self.xray_cause = xray_cause
