"""
The steps of one invocation, in order.

1. The order is that of the published table, `warmstate.instance.hooks.SEQUENCE`; a change here is a change there.
2. An answer leaves only after the state it depends on is committed. After the deadline nothing is committed.
3. `invoke` and `finish` never raise. Whatever user code raises, `SystemExit` included, becomes a failure of its invocation.
4. Every invocation runs in a copy of the context that init left, so no context variable (and no decimal context, which is
   one) leaks into the next event.
"""

from __future__ import annotations

import _thread
import sys
from _contextvars import copy_context
from itertools import count

from warmstate.context import Context, current
from warmstate.errors import (
    AnswerTooLarge,
    DeadlinePassed,
    LifecycleError,
    ResetRequested,
    TenantMismatch,
)
from warmstate.instance.answer import Answer
from warmstate.instance.deliveries import Deliveries
from warmstate.instance.thawing import Thawing
from warmstate.lifecycle.events import Init
from warmstate.wire.failure import describe, failure_from, is_a
from warmstate.wire.payload import decode_event, encode_answer
from warmstate.wire.runtime_api import MAX_ANSWER_BYTES, Success

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context as Scope
    from typing import Any

    from warmstate.instance.user_code import UserCode
    from warmstate.instance.warm_parts import WarmParts
    from warmstate.lifecycle.clock import Clock
    from warmstate.lifecycle.environment import Environment
    from warmstate.lifecycle.events import StartKind, Thaw
    from warmstate.lifecycle.notices import Notices
    from warmstate.wire.runtime_api import Invocation

__all__ = ["Serving"]

_RESERVE_BYTES = 256 * 1024
"""
Released when memory runs out, so that the failure can still be reported.

As `bytes` it is asked for but never touched: it takes address space, which is what runs out where an allocation fails, and no memory.
"""
_REPORTING_DEPTH = 400
"""Frames that reporting a failure may need, where the handler left a lower recursion limit behind."""
_PLAIN = frozenset((dict, list, str, bytes, int, float, bool, type(None), tuple))
"""What a handler mostly returns: neither to be awaited nor to be iterated."""


class Serving:
    """
    Serves the invocations of one instance, one after another or side by side.

    Its instance fills in `handle` and what belongs to it before the first invocation.

    Attributes:
        handle: The user's function.
        thawing: What runs after a freeze.
        after_response: The user's hook, or None.
        scope: The context variables as init left them.
        begun: How the instance began.
        tenant: The only tenant that is served, or None while there is none.
        ended: True when no more invocations are taken.
        running: The contexts of the invocations whose handler runs now.
        invocations: How many ended, `failures` of them badly.
    """

    __slots__ = (
        "_clock",
        "_code",
        "_deliveries",
        "_environment",
        "_escape",
        "_handle",
        "_notices",
        "_numbers",
        "_reserve",
        "_thaw_after",
        "_turn",
        "_warm",
        "after_response",
        "begun",
        "ended",
        "failures",
        "handle",
        "invocations",
        "running",
        "scope",
        "tenant",
        "thawing",
    )

    def __init__(
        self,
        handle: Callable[[Any, Context], object],
        environment: Environment,
        *,
        code: UserCode,
        warm: WarmParts,
        clock: Clock,
        notices: Notices,
        in_turn: bool,
    ) -> None:
        self._environment = environment
        self._escape = environment.escapes_text
        self._thaw_after = environment.thaw_after
        self._code = code
        self._warm = warm
        self._clock = clock
        self._notices = notices
        self._turn = _thread.allocate_lock() if in_turn else None
        self._numbers = count(1)
        self._deliveries = Deliveries()
        self._reserve: bytes | None = bytes(_RESERVE_BYTES)
        self._handle = self.handle = handle
        self.thawing = Thawing(None, warm, clock, notices)
        self.after_response: Callable[[Context], object] | None = None
        self.scope: Scope = copy_context()
        self.begun = Init("cold", clock=clock)
        self.tenant: str | None = None
        self.ended = False
        self.running: set[Context] = set()
        self.invocations = 0
        self.failures = 0

    def __repr__(self) -> str:
        return f"<Serving {self.invocations} invocations, {self.failures} failed, {len(self.running)} running>"

    def begin(self, init: Init, deliveries: Deliveries) -> None:
        """The next invocation is the first after `init`."""
        if self._code.always_on_loop:
            self._handle = self._handle_on_loop
        else:
            self._handle = self.handle
        self.begun = init
        self._numbers = count(1)
        self._deliveries = deliveries

    def watch(self, look: Callable[[], object]) -> None:
        """As `Instance.watch`."""
        handle = self._handle

        def watched(event: object, context: Context) -> object:
            look()
            return handle(event, context)

        self._handle = watched

    def froze(self, thaw: Thaw) -> None:
        """As `Instance.froze`."""
        if thaw.frozen_for > self._thaw_after:
            self.thawing.froze(thaw)

    def invoke(self, invocation: Invocation, thaw: Thaw | None) -> Answer:
        """Serve one invocation up to its answer, as `Instance.invoke`."""
        if thaw is None or thaw.frozen_for <= self._thaw_after:
            thaw = self.thawing.pending
        else:
            self.thawing.froze(thaw)
        number = next(self._numbers)
        attempt, redelivered = self._deliveries.arrived(invocation.request_id)
        start: StartKind = "warm"
        if number == 1:
            start = self.begun.start
        elif thaw is not None:
            start = "thaw"
        context = Context(
            invocation,
            self._environment,
            start,
            thaw,
            self.begun.generation,
            number,
            attempt,
            redelivered,
            self._clock,
        )  # by position, as classes are called fastest
        scope = self.scope.copy()
        answer = Answer(invocation, context, scope)
        try:
            if self._turn is not None:
                self._take_turn(answer, self._turn)
            scope.run(self._serve, answer)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything, and the instance goes on
            answer.stream = None  # it did not even begin
            try:
                scope.run(self.fail, answer, error)
            except BaseException as again:  # noqa: BLE001 - a signal handler of the user raised in the middle of that
                scope.run(self.fail, answer, again)
        if answer.stream is None:
            self.leave(answer)
        return answer

    def finish(self, answer: Answer, accepted: bool) -> None:
        """End an invocation whose outcome was posted, as `Instance.finish`."""
        if answer.stream is not None:
            answer.stream.end()
        answer.error = None  # its traceback holds the handler's variables, and this answer
        turn = self._turn
        if turn is None:
            answer.scope.run(self._settle, answer, accepted)
            return
        with turn:
            answer.scope.run(self._settle, answer, accepted)

    # ---- the steps of one invocation

    def _take_turn(self, answer: Answer, turn: _thread.LockType) -> None:
        context = answer.context
        wait = min(context.remaining, _thread.TIMEOUT_MAX) if context.deadline_trusted else -1.0
        if not turn.acquire(timeout=wait):
            raise DeadlinePassed(
                'the deadline passed while another invocation ran: with concurrency = "serial" one waits for the other. '
                "Nothing was run"
            )
        answer.holds_turn = True

    def _serve(self, answer: Answer) -> None:
        context = answer.context
        invocation = answer.invocation
        current.set(context)
        if self.ended:
            raise LifecycleError("this instance has ended and takes no more invocations")
        if invocation.client_context or invocation.cognito_identity:
            context.read_caller(invocation)
        if context.tenant_id != self.tenant:
            self._bind_tenant(context.tenant_id)
        if context.deadline_trusted and context.remaining <= 0.0:
            raise DeadlinePassed(
                "the deadline had passed before the event could be handled: nothing was run, no state changed"
            )
        warm = self._warm
        if warm.has_resources:
            warm.lease(context)
        if context.thaw is not None:
            self.thawing.run(context.thaw, context)
        event = decode_event(invocation.body, invocation.content_type)
        self.running.add(context)
        answer.handled = context.may_defer = True
        if warm.transactional:
            warm.begin("handle")
            answer.in_unit = True
        result = self._handle(event, context)
        if type(result) not in _PLAIN:
            result = self._resolve(answer, result, context)
            if answer.stream is not None:
                return
        context.may_defer = False
        if warm.has_tails:
            result = warm.flush_due(context, event, result)
        body, content_type = encode_answer(result, escape=self._escape)
        if len(body) > MAX_ANSWER_BYTES:
            raise AnswerTooLarge(len(body), MAX_ANSWER_BYTES)
        if warm.transactional:
            warm.commit(context)
            answer.in_unit = False
        answer.outcome = Success(body, content_type)
        self.invocations += 1
        self._deliveries.counted(invocation.request_id)

    def _bind_tenant(self, tenant: str | None) -> None:
        if self.tenant is not None:
            raise TenantMismatch(
                "this execution environment serves another tenant than the event is for, so nothing was run: put events of each "
                "tenant into environments of their own, as Lambda's tenant isolation mode does"
            )
        self.tenant = tenant
        self._warm.bind_tenant(tenant)

    def _resolve(self, answer: Answer, result: object, context: Context) -> object:
        """Wait for what is awaitable; start the stream of a generator, which leaves `answer.stream` set."""
        # The class is asked, as Python itself does: a mock has whatever one asks for.
        if hasattr(type(result), "__await__"):
            result = self._in_time(context, self._code.wait, result)
            if type(result) in _PLAIN:
                return result
        # A generator, or an async one; other things have a `send` too.
        kind = type(result)
        if hasattr(kind, "asend") or (hasattr(kind, "send") and hasattr(kind, "__next__")):
            from warmstate.instance.streamed import Stream

            context.may_defer = False
            answer.stream = stream = Stream(self, answer, self._code, result)
            answer.outcome = stream.start()
        return result

    def _handle_on_loop(self, event: object, context: Context) -> object:
        return self._in_time(context, self._code.call, self.handle, event, context)

    def _in_time(self, context: Context, run: Callable[..., object], *arguments: object) -> object:
        """Wait for what runs on the event loop; on Managed Instances, where nobody else would end it, until the deadline."""
        if not self._code.standing or not context.deadline_trusted:
            return run(*arguments)
        try:
            return run(*arguments, budget=context.remaining)
        except TimeoutError as error:
            if context.remaining > 0.0:  # the handler's own
                raise
            raise DeadlinePassed("the handler did not end before its deadline and was cancelled") from error

    def conclude_stream(self, answer: Answer) -> None:
        """The last chunk is out: flush what is due and commit, before the terminating chunk may be sent."""
        warm = self._warm
        if warm.has_tails:
            warm.flush_due(answer.context, None, None)
        if answer.in_unit:
            warm.commit(answer.context)
            answer.in_unit = False
        self.invocations += 1
        self._deliveries.counted(answer.invocation.request_id)

    def fail(self, answer: Answer, error: BaseException) -> None:
        """The invocation failed: put committed state back, and say why."""
        answer.context.may_defer = False
        answer.error = error
        if is_a(error, MemoryError):
            self._reserve = None
        if sys.getrecursionlimit() < _REPORTING_DEPTH:
            sys.setrecursionlimit(_REPORTING_DEPTH)
        if answer.in_unit:
            answer.in_unit = False
            try:
                self._warm.rollback()
            except BaseException as broken:  # noqa: BLE001 - the state in memory can no longer be trusted
                answer.wants_reset = True
                self.complain(f"The rollback failed, so a fresh process takes over: {describe(broken)}", answer)
        if is_a(error, ResetRequested):
            answer.wants_reset = True
        self.invocations += 1
        self.failures += 1
        answer.outcome = failure_from(error, request_id=answer.invocation.request_id)

    def complain(self, message: str, answer: Answer) -> None:
        """Tell the log what went wrong in an invocation where nobody else can be told."""
        self._notices.error(message, request_id=answer.context.aws_request_id)

    def leave(self, answer: Answer) -> None:
        """The handler's code of this invocation is over; the next one may have its turn."""
        self.running.discard(answer.context)
        if answer.holds_turn and self._turn is not None:
            answer.holds_turn = False
            self._turn.release()

    def _settle(self, answer: Answer, accepted: bool) -> None:
        context = answer.context
        if self.after_response is not None and accepted and answer.handled:
            try:
                self._warm.unit("after_response", self.after_response, context)
            except BaseException as error:  # noqa: BLE001 - the caller has its answer, there is nobody to fail for
                answer.wants_reset = answer.wants_reset or is_a(error, ResetRequested)
                self.complain(f"after_response failed, its changes were rolled back: {describe(error)}", answer)
        self._warm.settle(context)
        if self._reserve is None:
            self._reserve = bytes(_RESERVE_BYTES)
