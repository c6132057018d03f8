"""What a handler is told about the invocation it serves."""

from __future__ import annotations

import sys
from _contextvars import ContextVar

from warmstate._typing import cast
from warmstate.errors import ContextDecodeError, EventDecodeError, LifecycleError
from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.wire.payload import decode_event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from warmstate.lifecycle.environment import Environment
    from warmstate.lifecycle.events import StartKind, Thaw
    from warmstate.warm.tails.tail import Buffer
    from warmstate.wire.runtime_api import Invocation

__all__ = ["Client", "ClientContext", "Context", "Identity", "current"]


class Context:
    """
    One invocation, as its handler sees it: AWS's attributes under AWS's names, and what happened to this instance before.

    Everything of the managed runtime's context is here (documented by AWS as "Lambda context object in Python"):
    `aws_request_id`, `invoked_function_arn`, `function_name`, `function_version`, `memory_limit_in_mb` (a string, as there),
    `log_group_name`, `log_stream_name`, `client_context`, `identity`, `tenant_id`, `get_remaining_time_in_millis()`, `w3c()`
    and `log()`.

    Attributes:
        start: How this invocation found the instance: "cold", "warm", "thaw", "reset", "restore" or "provisioned".
        thaw: The freeze that this invocation came back from, if it was longer than `WARMSTATE_THAW_AFTER`, else None.
        generation: How many processes this execution environment has started, this one included.
        invocation_number: Which invocation of this process it is, from 1.
        attempt: Which delivery of this request it is, from 1, as far as this environment knows.
        redelivered: True when an earlier delivery of this request already counted: it was answered by this process, or its
            commit was adopted from the process before. A failed delivery counts for `attempt` only.
        deadline_trusted: False when the platform sent no deadline that could be used and a default was put in its place.
    """

    def __init__(
        self,
        invocation: Invocation,
        environment: Environment,
        start: StartKind = "cold",
        thaw: Thaw | None = None,
        generation: int = 1,
        invocation_number: int = 1,
        attempt: int = 1,
        redelivered: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.aws_request_id = invocation.request_id
        self.invoked_function_arn = invocation.function_arn
        self.function_name = environment.function_name
        self.function_version = environment.function_version
        memory = environment.memory_mb
        self.memory_limit_in_mb = None if memory is None else str(memory)
        self.log_group_name = environment.log_group_name
        self.log_stream_name = environment.log_stream_name
        self.tenant_id = invocation.tenant_id
        self.client_context: ClientContext | None = None
        self.identity = Identity()
        self.start: StartKind = start
        self.thaw = thaw
        self.generation = generation
        self.invocation_number = invocation_number
        self.attempt = attempt
        self.redelivered = redelivered
        self.deadline_trusted = invocation.deadline_trusted
        # The name under which the managed runtime keeps it; libraries that rebuild a context look for it.
        self._epoch_deadline_time_in_ms = invocation.deadline_ms
        self._trace_id = invocation.trace_id
        self._clock = clock
        self.may_defer = False
        self.deferred: list[Buffer[Any]] | None = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}([aws_request_id={self.aws_request_id},log_group_name={self.log_group_name},"
            f"log_stream_name={self.log_stream_name},function_name={self.function_name},"
            f"memory_limit_in_mb={self.memory_limit_in_mb},function_version={self.function_version},"
            f"invoked_function_arn={self.invoked_function_arn},client_context={self.client_context},"
            f"identity={self.identity},tenant_id={self.tenant_id},start={self.start},thaw={self.thaw},"
            f"generation={self.generation},invocation_number={self.invocation_number},attempt={self.attempt},"
            f"redelivered={self.redelivered}])"
        )

    @property
    def remaining(self) -> float:
        """Seconds until the deadline on the wall clock; 0.0 once it has passed."""
        left = self._epoch_deadline_time_in_ms / 1000 - self._clock.wall()
        return max(0.0, left)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the deadline; 0 once it has passed."""
        left = self._epoch_deadline_time_in_ms - int(self._clock.wall() * 1000)
        return max(0, left)

    def w3c(self) -> dict[str, str]:
        """The W3C trace headers (`traceparent`, `tracestate`, `baggage`) that came with the client context; often empty."""
        return {} if self.client_context is None else self.client_context._w3c  # noqa: SLF001 - one value in two parts

    def log(self, msg: object) -> None:
        """Write `msg` to the log as it is, without a level or a line end."""
        sys.stdout.write(msg if isinstance(msg, str) else str(msg))
        sys.stdout.flush()

    def defer(self, tail: Buffer[Any]) -> None:
        """
        Leave the records of a batch with their source until `tail` holds them durably.

        For events of SQS, Kinesis and DynamoDB streams whose event source mapping has `ReportBatchItemFailures`: append each
        record's item with the record's id (`messageId`, `sequenceNumber`) as `id=`. Records whose items are not flushed when
        the answer is made are reported in its `batchItemFailures`; their source delivers them again, the tail knows their
        ids, and after the flush they are acknowledged. From a stream, which would stop at the first of them, the tail is
        flushed before the answer instead.

        Mind that every round counts as a receive: keep the queue's `maxReceiveCount` well above the number of rounds that
        `max_age` can take, or the records end in its dead-letter queue.

        Raises:
            LifecycleError: The answer is streamed, or was made already.
        """
        if not self.may_defer:
            raise LifecycleError(
                "context.defer works inside `handle` of a batch event and before its answer is made: it cannot be used in other "
                "hooks, after the response, or in a handler that streams"
            )
        if self.deferred is None:
            self.deferred = []
        if not any(tail is known for known in self.deferred):
            self.deferred.append(tail)

    def read_caller(self, invocation: Invocation) -> None:
        """
        Take over what the caller sent about itself: client context and Cognito identity.

        Raises:
            ContextDecodeError: One of them is not the JSON object that the platform promises.
        """
        sent = _json_object("client context", invocation.client_context)
        if sent is not None:
            self.client_context = ClientContext(sent)
        identity = _json_object("Cognito identity", invocation.cognito_identity)
        if identity is not None:
            self.identity = Identity(identity.get("cognitoIdentityId"), identity.get("cognitoIdentityPoolId"))


class Identity:
    """The Amazon Cognito identity that authorised the request; both attributes are None without one."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self, cognito_identity_id: Any = None, cognito_identity_pool_id: Any = None) -> None:
        self.cognito_identity_id = cognito_identity_id
        self.cognito_identity_pool_id = cognito_identity_pool_id

    def __repr__(self) -> str:
        return (
            f"CognitoIdentity([cognito_identity_id={self.cognito_identity_id},"
            f"cognito_identity_pool_id={self.cognito_identity_pool_id}])"
        )


class ClientContext:
    """What a mobile application sent about itself: `client`, and the free-form `custom` and `env`."""

    __slots__ = ("_w3c", "client", "custom", "env")

    def __init__(self, sent: dict[str, Any]) -> None:
        w3c: Any = sent.pop("w3c", None)
        self._w3c: dict[str, str] = {}
        if isinstance(w3c, dict):
            fields = cast("dict[str, Any]", w3c)
            for name in ("traceparent", "tracestate", "baggage"):
                value = fields.get(name)
                if isinstance(value, str):
                    self._w3c[name] = value
        self.custom: Any = sent.get("custom")
        self.env: Any = sent.get("env")
        client: Any = sent.get("client")
        self.client = Client(cast("dict[str, Any]", client)) if isinstance(client, dict) else None

    def __repr__(self) -> str:
        return f"ClientContext([custom={self.custom},env={self.env},client={self.client}])"


class Client:
    """The application that a client context names; what it did not send is None."""

    __slots__ = ("app_package_name", "app_title", "app_version_code", "app_version_name", "installation_id")

    def __init__(self, sent: dict[str, Any]) -> None:
        self.installation_id: Any = sent.get("installation_id")
        self.app_title: Any = sent.get("app_title")
        self.app_version_name: Any = sent.get("app_version_name")
        self.app_version_code: Any = sent.get("app_version_code")
        self.app_package_name: Any = sent.get("app_package_name")

    def __repr__(self) -> str:
        return (
            f"Client([installation_id={self.installation_id},app_title={self.app_title},"
            f"app_version_name={self.app_version_name},app_version_code={self.app_version_code},"
            f"app_package_name={self.app_package_name}])"
        )


current: ContextVar[Context | None] = ContextVar("warmstate.context", default=None)
"""The context of the invocation that the running code belongs to; `current.get()` is None outside of any."""


def _json_object(what: str, text: str | None) -> dict[str, Any] | None:
    """The object in `text`; None where there is no text, or null, which stands for none on the stock runtime too."""
    if not text:
        return None
    try:
        sent: Any = decode_event(text.encode("utf-8", "surrogateescape"), "application/json")
    except EventDecodeError as error:
        raise ContextDecodeError(f"the {what} of this request cannot be read as JSON: {error}") from error
    if sent is not None and not isinstance(sent, dict):
        raise ContextDecodeError(f"the {what} of this request is not a JSON object")
    return cast("dict[str, Any] | None", sent)
