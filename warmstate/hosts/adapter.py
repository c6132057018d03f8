"""
A handler class as a plain function, for the stock managed runtime that calls it.

1. The platform's own client talks to the Runtime API. What runs after an answer elsewhere runs before it here: the answer
   leaves only when the function has returned.
2. A freeze is told from the gap between two invocations, on both clocks.
3. SIGTERM reaches Python only where the client polls on another thread (managed Python 3.12 and later) and an extension is
   registered. In the middle of a handler it is noted, and the last steps run when the handler is done.
4. Streams are put together: the whole body is the answer.
5. Where our own runtime imports a module that calls `as_lambda_handler`, no second instance is made beside its own.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, cast

from warmstate.errors import LifecycleError, WarmstateError
from warmstate.hosts import loader
from warmstate.hosts.logs import HostNotices, open_log
from warmstate.instance import Instance
from warmstate.lifecycle.clock import SYSTEM_CLOCK
from warmstate.lifecycle.environment import Environment
from warmstate.lifecycle.events import Init, Shutdown
from warmstate.lifecycle.marker import claim
from warmstate.lifecycle.thaw import thaw_between
from warmstate.wire.runtime_api import Failure, Invocation, StreamedSuccess
from warmstate.wire.streaming import DELIMITER, HTTP_CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from warmstate.handler import StatefulHandler
    from warmstate.instance.answer import Answer
    from warmstate.lifecycle.clock import Clock
    from warmstate.lifecycle.events import ShutdownReason
    from warmstate.wire.runtime_api import Success

__all__ = ["HandlerFailed", "as_lambda_handler"]

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_CLIENT_NAMES = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class HandlerFailed(WarmstateError):
    """Raised where the handler's error cannot be raised again; the class bears the name under which it is reported."""


def as_lambda_handler(handler_class: type[StatefulHandler]) -> Callable[[Any, Any], object]:
    """
    Make the instance now, in the platform's init phase, and return the function that serves its invocations.

    Raises:
        BaseException: Whatever `on_init` raised; the platform reports it as the init error.
    """
    return _deferred(handler_class) if loader.is_loading() else _StockHost(handler_class).handle


def _deferred(handler_class: type[StatefulHandler]) -> Callable[[Any, Any], object]:
    """What stands for the instance in a process of our own runtime, which drives the class by itself and finds it here."""
    hosts: list[_StockHost] = []

    def handle(event: Any, context: Any) -> object:
        if not hosts:  # the handler that this process serves calls this one
            hosts.append(_StockHost(handler_class))
        return hosts[0].handle(event, context)

    return loader.stands_for(handler_class, handle)


class _StockHost:
    """Drives one instance from inside the stock runtime's process."""

    def __init__(self, handler_class: type[StatefulHandler], clock: Clock = SYSTEM_CLOCK) -> None:
        self._environment = environment = Environment.from_mapping(os.environ)
        if environment.is_managed_instance:
            raise LifecycleError(
                "as_lambda_handler() serves one invocation at a time, and the stock runtime starts a process for each slot of a "
                "Managed Instance: run the class with warmstate's own bootstrap there."
            )
        self._clock = clock
        self._notices = notices = HostNotices.for_environment(open_log(environment), environment)
        self._claim = claimed = claim(environment.tmp, environment=environment, notices=notices)
        self._instance = Instance(
            handler_class,
            environment,
            directory=claimed.directory,
            last_commit=claimed.last_commit,
            refusal=claimed.refusal,
            clock=clock,
            notices=notices,
        )
        before = claimed.predecessor
        self._instance.init(
            Init(claimed.start, claimed.generation, claimed.reset_reason, fence=claimed.fence, clock=clock),
            interrupted=before.request_id if before is not None and before.phase == "invoke" else None,
        )
        self._ended: tuple[float, float] | None = None
        self._busy = False
        self._terminated = False
        self._over = False
        self._pid = os.getpid()
        if environment.initialization_type == "snap-start":
            self._register_with_snapstart()
        try:
            signal.signal(signal.SIGTERM, self._on_sigterm)
        except ValueError:
            pass  # not on the main thread: the platform kills without a word, which every commit allows for
        atexit.register(self._shut_down, "spindown")
        claimed.write("next")

    def __repr__(self) -> str:
        return f"<_StockHost {'over' if self._over else 'busy' if self._busy else 'waiting'}: {self._instance!r}>"

    def handle(self, event: Any, context: Any) -> object:
        """Serve one invocation; what the stock runtime calls."""
        begun = (self._clock.wall(), self._clock.monotonic())
        thaw = None
        if self._ended is not None:
            thaw = thaw_between(self._ended, begun, thaw_after=self._environment.thaw_after)
        invocation = _invocation(event, context, begun[0])
        self._claim.write("invoke", invocation.request_id, invocation.deadline_ms)
        self._busy = True
        answer = self._instance.invoke(invocation, thaw=thaw)
        if os.getpid() != self._pid:
            os._exit(answer.exit_code)  # a child that the handler forked came back here: two processes would answer
        try:
            return _value_of(answer)
        finally:
            self._instance.finish(answer)
            self._busy = False
            self._claim.write("next")
            self._claim.answered()
            self._ended = (self._clock.wall(), self._clock.monotonic())
            if self._terminated:
                self._shut_down("timeout" if not context.get_remaining_time_in_millis() else "spindown")
            if answer.wants_reset:
                self._shut_down("failure")
                os._exit(1)

    def _register_with_snapstart(self) -> None:
        hooks: Any = __import__("snapshot_restore_py")  # part of the stock runtime

        def before_snapshot() -> None:
            self._instance.before_snapshot(registered=False)
            self._claim.write("snapshot")

        def after_restore() -> None:
            self._claim.renew()
            self._instance.after_restore(
                Init("restore", 1, None, fence=self._claim.fence, clock=self._clock), registered=False
            )

        hooks.register_before_snapshot(before_snapshot)
        hooks.register_after_restore(after_restore)

    def _on_sigterm(self, *_: object) -> None:
        if os.getpid() != self._pid:  # a child that the handler forked
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._claim.say("term")
        if self._busy:
            self._terminated = True  # the last steps never run inside a handler: they need its locks
            return
        self._shut_down("spindown")
        os._exit(0)

    def _shut_down(self, reason: ShutdownReason) -> None:
        if self._over or os.getpid() != self._pid:
            return
        self._over = True
        self._instance.shutdown(Shutdown(reason, self._environment.shutdown_budget, clock=self._clock))
        self._claim.close("exit")
        try:
            sys.stdout.flush()
        except (AttributeError, ValueError, OSError):
            pass  # closed, or replaced by the user's own


# ---- into our words, and back


def _invocation(event: Any, context: Any, now: float) -> Invocation:
    is_bytes = isinstance(event, bytes)
    return Invocation(
        context.aws_request_id,
        event if is_bytes else json.dumps(event).encode(),
        deadline_ms=int(now * 1000) + int(context.get_remaining_time_in_millis()),
        function_arn=context.invoked_function_arn or "",
        trace_id=os.environ.get("_X_AMZN_TRACE_ID"),
        tenant_id=getattr(context, "tenant_id", None),
        client_context=_client_context(context),
        cognito_identity=_cognito_identity(getattr(context, "identity", None)),
        content_type="application/octet-stream" if is_bytes else "application/json",
    )


def _client_context(context: Any) -> str | None:
    found = getattr(context, "client_context", None)
    if found is None:
        return None
    client = getattr(found, "client", None)
    sent: dict[str, object] = {
        "custom": getattr(found, "custom", None),
        "env": getattr(found, "env", None),
        "client": None if client is None else {name: getattr(client, name, None) for name in _CLIENT_NAMES},
    }
    if hasattr(context, "w3c"):
        sent["w3c"] = context.w3c()
    return json.dumps(sent)


def _cognito_identity(identity: Any) -> str | None:
    found = getattr(identity, "cognito_identity_id", None)
    if found is None:
        return None
    pool = getattr(identity, "cognito_identity_pool_id", None)
    return json.dumps({"cognitoIdentityId": found, "cognitoIdentityPoolId": pool})


def _value_of(answer: Answer) -> object:
    """
    What the function returns, so that the stock runtime posts the same as ours would.

    Raises:
        BaseException: The handler's own error, with the frames of its own code.
    """
    outcome = answer.outcome
    if isinstance(outcome, Failure):
        error = answer.error
        if isinstance(error, Exception) and not isinstance(error, WarmstateError):
            raise error.with_traceback(_from_user_code(error.__traceback__))
        raise _named(outcome)
    if isinstance(outcome, StreamedSuccess):
        body = b"".join(outcome.chunks)
        return _http_answer(body) if outcome.content_type == HTTP_CONTENT_TYPE else body
    return _decoded(outcome)


def _decoded(success: Success) -> object:
    if success.content_type != "application/json":
        return success.body
    # The stock runtime writes a Decimal with its own digits, so no digit is lost on the way through.
    value: object = json.loads(success.body, parse_float=Decimal)
    return value


def _http_answer(streamed: bytes) -> object:
    """The answer of a buffered function URL or API to what was meant for a streaming one."""
    prelude, _, body = streamed.partition(DELIMITER)
    answer = cast("dict[str, object]", json.loads(prelude))
    try:
        return {**answer, "body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {**answer, "body": b64encode(body).decode(), "isBase64Encoded": True}


def _from_user_code(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of warmstate that lead to the user's first one."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return trace


def _named(failure: Failure) -> HandlerFailed:
    """An error of the name and the words of `failure`: the stock runtime reports the name of the class."""
    report = json.loads(failure.body)
    kind: type[HandlerFailed] = type(failure.error_type, (HandlerFailed,), {})
    return kind(report["errorMessage"])
