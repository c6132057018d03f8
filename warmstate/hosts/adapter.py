"""
A handler class as a plain function, for the stock managed runtime that calls it.

What works there: slots, commits, tails, resources, hooks. What does not: streaming, and `context.start` "restore".
A freeze is told from the gap between two invocations; `before_shutdown` runs where SIGTERM reaches Python, which on the stock
runtime means managed Python 3.12 and later with an extension registered (observed with awslambdaric 4.2.2).
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import time

from warmstate.errors import LifecycleError, WarmstateError
from warmstate.hosts.logs import HostNotices, open_log
from warmstate.instance import Instance
from warmstate.lifecycle.environment import Environment
from warmstate.lifecycle.events import Init, Shutdown
from warmstate.lifecycle.marker import claim
from warmstate.lifecycle.thaw import thaw_between
from warmstate.wire.runtime_api import Failure, Invocation, StreamedSuccess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmstate.handler import StatefulHandler
    from warmstate.wire.runtime_api import Success

__all__ = ["HandlerFailed", "as_lambda_handler"]


class HandlerFailed(WarmstateError):
    """Raised where the error of the handler has no exception to raise again; its text is that of the original."""


def as_lambda_handler(handler_class: type[StatefulHandler]) -> Callable[[Any, Any], object]:
    """
    Make the instance now, in the platform's init phase, and return the function that serves its invocations.

    Raises:
        BaseException: whatever `on_init` raised; the platform reports it as the init error.
    """
    environment = Environment.from_mapping(os.environ)
    if environment.is_managed_instance:
        raise LifecycleError(
            "as_lambda_handler() serves one invocation at a time; on Lambda Managed Instances run the class with warmstate's "
            "own bootstrap."
        )
    log = open_log(environment)
    notices = HostNotices.for_environment(log, environment)
    claimed = claim(environment.tmp, environment=environment, notices=notices)
    claimed.write("init")
    instance = Instance(handler_class, environment, directory=claimed.directory, notices=notices)
    before = claimed.predecessor
    interrupted = before.request_id if before is not None and before.phase == "invoke" else None
    instance.init(
        Init(claimed.start, claimed.generation, claimed.reset_reason, fence=claimed.fence), interrupted=interrupted
    )
    claimed.write("next")
    ended: list[tuple[float, float]] = []
    over: list[bool] = []

    def handler(event: Any, context: Any) -> object:
        now = (time.time(), time.monotonic())
        thaw = thaw_between(ended[0], now, thaw_after=environment.thaw_after) if ended else None
        invocation = _invocation(event, context, now[0])
        claimed.write("invoke", invocation.request_id, invocation.deadline_ms)
        answer = instance.invoke(invocation, thaw=thaw)
        outcome = answer.outcome
        try:
            if isinstance(outcome, StreamedSuccess):
                # The stock runtime takes no stream: the whole body is the answer.
                return b"".join(outcome.chunks).decode()
            if isinstance(outcome, Failure):
                raise _as_exception(outcome)
            return _as_value(outcome)
        finally:
            # The answer leaves only after this returns, so what follows it elsewhere comes before it here.
            instance.finish(answer)
            claimed.write("next")
            claimed.answered()
            ended[:] = [(time.time(), time.monotonic())]
            if answer.wants_reset:
                claimed.close("exit")
                os._exit(1)

    def shut_down(*_: object) -> None:
        if not over:
            over.append(True)
            claimed.say("term")
            instance.shutdown(Shutdown("spindown", environment.shutdown_budget))
            claimed.close("exit")
            sys.stdout.flush()

    def on_sigterm(*_: object) -> None:
        shut_down()
        os._exit(0)

    try:
        signal.signal(signal.SIGTERM, on_sigterm)
    except ValueError:
        pass  # not on the main thread: the platform kills without a word, which is allowed for
    atexit.register(shut_down)
    return handler


def _invocation(event: Any, context: Any, now: float) -> Invocation:
    remaining = context.get_remaining_time_in_millis()
    identity = getattr(context, "identity", None)
    cognito = getattr(identity, "cognito_identity_id", None)
    return Invocation(
        context.aws_request_id,
        event if isinstance(event, bytes) else json.dumps(event).encode(),
        deadline_ms=int(now * 1000) + remaining,
        function_arn=context.invoked_function_arn or "",
        trace_id=os.environ.get("_X_AMZN_TRACE_ID"),
        tenant_id=getattr(context, "tenant_id", None),
        client_context=_client_context(getattr(context, "client_context", None)),
        cognito_identity=json.dumps({
            "cognitoIdentityId": cognito,
            "cognitoIdentityPoolId": getattr(identity, "cognito_identity_pool_id", None),
        }) if cognito else None,
        content_type="application/octet-stream" if isinstance(event, bytes) else "application/json",
    )  # fmt: skip


def _client_context(found: Any) -> str | None:
    if found is None:
        return None
    client = getattr(found, "client", None)
    names = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")
    return json.dumps({
        "custom": getattr(found, "custom", None),
        "env": getattr(found, "env", None),
        "client": None if client is None else {name: getattr(client, name, None) for name in names},
    })  # fmt: skip


def _as_value(success: Success) -> object:
    return json.loads(success.body) if success.content_type.startswith("application/json") else success.body


def _as_exception(failure: Failure) -> Exception:
    report = json.loads(failure.body)
    # The stock runtime reports the name of the class, so the class bears the name of the original.
    kind: type[HandlerFailed] = type(str(report.get("errorType") or failure.error_type), (HandlerFailed,), {})
    return kind(report.get("errorMessage", ""))
