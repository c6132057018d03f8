"""
The order of everything that runs in the life of an instance, as one table.

Hosts, the test kit and the reference page share it; `tests/instance/test_order.py` holds `Instance` to it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Phase: TypeAlias = Literal["init", "invocation", "shutdown"]
    Runner: TypeAlias = Literal["handler", "runtime", "host"]

__all__ = ["SEQUENCE", "Step", "as_markdown"]


class Step:
    """
    One step of the sequence.

    `runs` says whose code it is: the user's "handler" class, the "runtime" around it, or the "host" that drives both.
    `unit` is True where the step is a unit of work of its own: its changes to committed slots commit or roll back together.
    `when` says what must hold for it to run, `on_error` what an exception in it leads to.
    """

    __slots__ = ("name", "on_error", "phase", "runs", "unit", "when")

    def __init__(self, phase: Phase, name: str, runs: Runner, *, unit: bool, when: str, on_error: str) -> None:
        self.phase = phase
        self.name = name
        self.runs = runs
        self.unit = unit
        self.when = when
        self.on_error = on_error

    def __repr__(self) -> str:
        return f"<Step {self.phase}: {self.name}>"


SEQUENCE = (
    Step(
        "init",
        "construct",
        "handler",
        unit=False,
        when="once per process: the class is called without arguments",
        on_error="init fails and is reported; the platform starts another process",
    ),
    Step(
        "init",
        "adopt",
        "runtime",
        unit=False,
        when="a process before this one left commits in the same environment",
        on_error="nothing is adopted, the log names the reason, and init goes on",
    ),
    Step(
        "init",
        "on_init",
        "handler",
        unit=True,
        when="always",
        on_error="its changes roll back; init fails and is reported",
    ),
    Step(
        "invocation",
        "renew",
        "runtime",
        unit=False,
        when="the instance was frozen for longer than `WARMSTATE_THAW_AFTER`: resources are checked before their next use",
        on_error="the resource is closed and opened anew on use",
    ),
    Step(
        "invocation",
        "on_thaw",
        "handler",
        unit=True,
        when="after such a freeze, and again at the next invocation for as long as it raises",
        on_error="its changes roll back and the invocation fails; the third time in a row starts a fresh process",
    ),
    Step(
        "invocation",
        "handle",
        "handler",
        unit=True,
        when="the deadline has not passed and the tenant is the one this environment serves",
        on_error="committed slots and reset tails roll back to the last commit, the rest stays; the invocation fails",
    ),
    Step(
        "invocation",
        "flush",
        "handler",
        unit=True,
        when="for each tail that is due, inside the unit of handle",
        on_error="the batch stays in the tail and is tried again later; the invocation goes on",
    ),
    Step(
        "invocation",
        "encode",
        "runtime",
        unit=False,
        when="always; a streamed answer is encoded chunk by chunk instead, before the flushes",
        on_error="as an exception in handle",
    ),
    Step(
        "invocation",
        "commit",
        "runtime",
        unit=False,
        when="something committed was touched and the deadline has not passed",
        on_error="as an exception in handle",
    ),
    Step(
        "invocation",
        "post",
        "host",
        unit=False,
        when="always: the answer, or the error",
        on_error="depends on the status, see the Runtime API",
    ),
    Step(
        "invocation",
        "after_response",
        "handler",
        unit=True,
        when="handle had started and the platform took the answer",
        on_error="its changes roll back and the log names it; the caller has its answer already",
    ),
    Step(
        "invocation",
        "settle",
        "runtime",
        unit=False,
        when="always: measure, spill what is over budget, compact the journal",
        on_error="the log names it; nothing is lost that a commit or the memory holds",
    ),
    Step(
        "shutdown",
        "before_shutdown",
        "handler",
        unit=True,
        when="no handler runs, or the class allows overlap with `concurrency`",
        on_error="its changes roll back; the other steps still run",
    ),
    Step(
        "shutdown",
        "flush",
        "handler",
        unit=True,
        when="for each tail that holds something, under the same condition",
        on_error="the batch stays; the other tails are still flushed",
    ),
    Step(
        "shutdown",
        "close",
        "handler",
        unit=False,
        when="for each open resource, in reverse order of opening, under the same condition",
        on_error="the log names it; the other resources are still closed",
    ),
)
"""
Every step in order. `before_timeout` is not in it: it alone may run beside the handler, shortly before its deadline.
A commit belongs to each unit of work, also where the table does not show it as a step of its own.
"""


def as_markdown() -> str:
    """The table for the reference page."""
    lines = [
        "| phase | step | whose code | unit of work | runs when | an exception in it |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {step.phase} | `{step.name}` | {step.runs} | {'yes' if step.unit else ''} | {step.when} | {step.on_error} |"
        for step in SEQUENCE
    ]
    return "\n".join(lines) + "\n"
