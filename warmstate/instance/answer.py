"""What became of one invocation."""

from __future__ import annotations

from warmstate.wire.runtime_api import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context as Scope

    from warmstate.context import Context
    from warmstate.instance.streamed import Stream
    from warmstate.wire.runtime_api import Invocation, StreamedSuccess, Success

__all__ = ["Answer"]

_NOT_ANSWERED = Failure("Runtime.NotAnswered", b"{}")
_RETURNED = 70
"""The exit code of a child process that a handler forked and that came back from it."""


class Answer:
    """
    What became of one invocation: the `outcome` to post, and what `Instance.finish` needs afterwards.

    `wants_reset` is True when a fresh process must serve the next invocation; look at it again after `finish`.
    `handled` is True when the user's `handle` was called.
    `error` is what a failed invocation raised, until `finish`.
    """

    __slots__ = (
        "context",
        "error",
        "handled",
        "holds_turn",
        "in_unit",
        "invocation",
        "outcome",
        "scope",
        "stream",
        "wants_reset",
    )

    def __init__(self, invocation: Invocation, context: Context, scope: Scope) -> None:
        self.invocation = invocation
        self.context = context
        self.scope = scope
        self.outcome: Success | StreamedSuccess | Failure = _NOT_ANSWERED
        self.error: BaseException | None = None
        self.stream: Stream | None = None
        self.handled = False
        self.holds_turn = False
        self.in_unit = False
        self.wants_reset = False

    @property
    def exit_code(self) -> int:
        """What a child process that came back with this answer ends with: what its `sys.exit` says, if it called that."""
        error = self.error
        if not isinstance(error, SystemExit):
            return _RETURNED
        code = error.code
        return code & 0xFF if isinstance(code, int) else int(code is not None)

    def __repr__(self) -> str:
        return f"<Answer to {self.invocation.request_id}: {type(self.outcome).__name__}>"
