"""
What one polling thread does between an answer to `next` and the next one: read the event, post what became of it.

1. An event that cannot be served is still answered where an answer can be addressed; otherwise it is dropped and counted.
2. An answer is sent once. What the platform says to it is logged and never changes the order of things, with two
   exceptions: 410 came too late, so nothing that depends on it may follow, and 500 means that the sandbox is lost.
3. Whatever breaks in between, an event whose answer has not begun to leave is answered with an error.
"""

from __future__ import annotations

from warmstate.errors import EventRefused, UnanswerableEvent
from warmstate.wire.failure import failure_from
from warmstate.wire.runtime_api import Failure, StreamedSuccess, error_request, parse_next, response_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.hosts.http11 import Reply
    from warmstate.hosts.logs import Log
    from warmstate.hosts.transport import NativeTransport
    from warmstate.instance import Answer
    from warmstate.lifecycle.clock import Clock
    from warmstate.lifecycle.notices import Notices
    from warmstate.wire.runtime_api import Invocation, Request

__all__ = ["Delivery"]

_MOST_UNANSWERABLE = 3
_CLOSING_MS = 250
"""So long before its deadline a stalled answer is given up, while the `finally` blocks of a stream still have time."""
_GRACE = 1.0
"""Seconds that the platform has for reading or confirming an answer that is late already."""


class Delivery:
    """
    Takes events from one transport and posts answers to it.

    Args:
        transport: The connection of this thread.
        log: Receives the reports of failed invocations.
        notices: Receives what the platform refuses.
        leave: Ends the process with an exit code; does not return.
        timeout: Seconds until the deadline of an event that came without one.
        clock: Tells whether a deadline has passed.
        ending: Whether SIGTERM came, and nobody may be waited for any more.
    """

    __slots__ = (
        "_accepted",
        "_clock",
        "_deadline_ms",
        "_ending",
        "_leave",
        "_log",
        "_notices",
        "_open",
        "_timeout",
        "_transport",
        "_unanswerable",
    )

    def __init__(
        self,
        transport: NativeTransport,
        log: Log,
        notices: Notices,
        *,
        leave: Callable[[int], object],
        timeout: float,
        clock: Clock,
        ending: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._log = log
        self._notices = notices
        self._leave = leave
        self._timeout = timeout
        self._clock = clock
        self._ending = ending
        self._deadline_ms = 0
        transport.is_over = self._is_over
        self._unanswerable = 0
        self._accepted: bool | None = False  # None while the platform's word is outstanding
        self._open: Invocation | None = None  # taken, and nothing of its answer was sent

    def __repr__(self) -> str:
        return f"<Delivery over {self._transport!r}>"

    def event(self, reply: Reply, now_ms: int) -> Invocation | None:
        """The invocation that a 200 to `next` carries; None when there is nothing to run, and whoever waits was told."""
        try:
            invocation = parse_next(reply.headers, reply.body, now_ms=now_ms, default_timeout=self._timeout)
            if reply.too_large:
                raise EventRefused("The event is larger than the platform's limit and was not read.", invocation)
        except EventRefused as error:
            failure = failure_from(error, request_id=error.invocation.request_id)
            self._log.failure(failure)
            self._submit(error_request(error.invocation, failure))
            self.accepted()
            return None
        except UnanswerableEvent as error:
            self._notices.error(str(error))
            self._unanswerable += 1
            if self._unanswerable >= _MOST_UNANSWERABLE:
                self._leave(1)
            return None
        self._unanswerable = 0
        self._open = invocation
        self._deadline_ms = invocation.deadline_ms
        return invocation

    def answer(self, invocation: Invocation, answer: Answer) -> bool:
        """Post the outcome; False when the platform refused it as too late, or nobody knows whether it arrived."""
        self.send(invocation, answer)
        return self.accepted()

    def send(self, invocation: Invocation, answer: Answer) -> None:
        """Send the outcome; `accepted` then tells what the platform says to it."""
        outcome = answer.outcome
        if isinstance(outcome, StreamedSuccess):
            from warmstate.hosts.streams import send_stream

            self._open = None

            def failed(failure: Failure) -> None:
                self._log.failure(failure, answer.context)

            self._accepted = self._took(send_stream(self._transport, invocation, outcome, self._notices, failed))
        elif isinstance(outcome, Failure):
            self._log.failure(outcome, answer.context)
            self._submit(error_request(invocation, outcome))
        else:
            self._submit(response_request(invocation, outcome))

    def accepted(self) -> bool:
        """Wait for the platform's word on what was sent; as the result of `answer`."""
        if self._accepted is None:
            self._accepted = False
            try:
                self._accepted = self._took(self._transport.read_reply())
            except Exception as error:  # noqa: BLE001 - the connection broke, or a signal handler of the user raised in here
                self._lost(error)
        return self._accepted

    def give_up(self, error: BaseException) -> None:
        """Something broke the runtime's own steps: the event that is still open is answered with it."""
        invocation = self._open
        if invocation is None:
            self.accepted()
            return
        failure = failure_from(error, request_id=invocation.request_id)
        self._submit(error_request(invocation, failure))
        self.accepted()
        self._log.failure(failure)

    def _is_over(self, stalled: float) -> bool:
        """Whether the platform, which neither reads nor answers, has been waited for long enough."""
        late = self._clock.wall() * 1000.0 >= self._deadline_ms - _CLOSING_MS
        return self._ending() or (late and stalled >= _GRACE)

    def _submit(self, request: Request) -> None:
        self._open = None
        self._accepted = None
        try:
            self._transport.submit(request)
        except Exception as error:  # noqa: BLE001 - as above
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        # Whether it arrived is unknown, and an answer is never sent twice.
        self._accepted = False
        self._transport.close()
        self._notices.error(f"The answer may be lost: {error}")

    def _took(self, reply: Reply | None) -> bool:
        if reply is None:
            return False
        if reply.status < 300:
            return True
        problem = f"The Runtime API answered {reply.status} to an answer: {reply.body[:200]!r}"
        if reply.status == 500:
            self._notices.error(problem)
            self._leave(1)
        self._notices.warning(problem)
        return reply.status != 410
