"""
One execution environment in this process: a directory for its `/tmp`, and the instance in it, if there is one.

1. One process is one `Instance`; that it "dies" means that nothing of it runs any more and its files are let go of as they are.
2. Between two invocations an environment is frozen, so all time that passes there on the clock counts as a freeze.
3. A handler cannot be interrupted here. One that moved the clock past its deadline is ended as on the platform when it returns:
   nothing of it commits, and the last steps run as they would while it still ran.
"""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from warmstate.errors import LifecycleError
from warmstate.instance import Instance
from warmstate.lifecycle.events import Init, Shutdown
from warmstate.lifecycle.machine import Lifecycle
from warmstate.lifecycle.marker import Claim, claim
from warmstate.lifecycle.thaw import thaw_between
from warmstate.testing.result import Result
from warmstate.testing.told import Told
from warmstate.wire.failure import failure_from
from warmstate.wire.runtime_api import Failure, Invocation, StreamedSuccess

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.context import Context
    from warmstate.handler import StatefulHandler
    from warmstate.instance import Answer
    from warmstate.instance.closing import ShutdownReport
    from warmstate.lifecycle.events import ShutdownReason
    from warmstate.testing.platform import Platform

__all__ = ["Environment"]

_INIT_SECONDS = 10.0
_GRACE = 1 / 3
"""The part of the shutdown budget for which the runtime waits, after SIGTERM, for a handler to end."""


class Environment:
    """
    One execution environment of a `Platform`.

    Attributes:
        instance: Its name, as in `Result.instance`.
        tmp: The directory that is its `/tmp`.
        starts: How many invocations found it how.
        invocations: How many were delivered to it.
        last_shutdown: How the last steps of its latest process went, or None.
        tenant_id: The only tenant it serves.
        last_used: Counts up; of several that are free the one that was used last takes the next event, as on Lambda.
    """

    def __init__(self, instance: str, platform: Platform, *, provisioned: bool) -> None:
        self.instance = instance
        self.tmp = tempfile.mkdtemp(prefix="warmstate-test-")
        self.starts: Counter[str] = Counter()
        self.invocations = 0
        self.last_shutdown: ShutdownReport | None = None
        self.tenant_id: str | None = None
        self.last_used = 0
        self._platform = platform
        self._provisioned = provisioned
        self._told = Told(lambda level, message: platform.timeline.add("says", instance, f"{level}: {message}"))
        self._lifecycle = Lifecycle("ended")
        self._claim: Claim | None = None
        self._process: Instance | None = None
        self._idle_since: tuple[float, float] | None = None

    def __repr__(self) -> str:
        return f"<Environment {self.instance}, {self.state}, {self.invocations} invocations>"

    @property
    def state(self) -> str:
        """Where its process is in the lifecycle: "frozen", "idle", ...; "reset" when it has none until the next event."""
        if self._lifecycle.state == "ended":
            return "reset" if self.generation else "new"
        return self._lifecycle.state

    @property
    def generation(self) -> int:
        """How many processes it has started."""
        return 0 if self._claim is None else self._claim.generation

    @property
    def handler(self) -> StatefulHandler | None:
        """The user's object in the present process; None without one, and for a plain function."""
        return None if self._process is None else self._process.handler

    @property
    def notices(self) -> list[tuple[str, str]]:
        """(level, message) of what the runtime said, oldest first."""
        return list(self._told.said)

    def inspect(self) -> dict[str, object]:
        """
        What the instance holds, as plain values.

        Raises:
            LifecycleError: there is no process.
        """
        if self._process is None:
            raise LifecycleError(f"{self.instance} has no process to look into: invoke it first")
        return self._process.inspect()

    # ---- the life of a process

    def start(self) -> None:
        """
        Start a process and run its init; nothing happens where there is one.

        Raises:
            BaseException: whatever the user's code raised.
        """
        if self._process is not None:
            return
        platform = self._platform
        self._lifecycle.push("start")
        facts = platform.facts(self.tmp, provisioned=self._provisioned)
        self._claim = claimed = claim(self.tmp, environment=facts, clock=platform.clock, notices=self._told)
        process = Instance(
            platform.target,
            facts,
            directory=claimed.directory,
            last_commit=claimed.last_commit,
            refusal=claimed.refusal,
            clock=platform.clock,
            notices=self._told,
        )
        before = claimed.predecessor
        try:
            process.init(
                Init(
                    claimed.start,
                    claimed.generation,
                    claimed.reset_reason,
                    _INIT_SECONDS,
                    claimed.fence,
                    clock=platform.clock,
                ),
                interrupted=before.request_id if before is not None and before.phase == "invoke" else None,
            )
        except BaseException:
            self._lifecycle.push("init_error")
            claimed.close("exit")
            self._lifecycle.push("exit")
            raise
        self._process = process
        if platform.watcher is not None:
            process.watch(functools.partial(platform.watcher, "handle", process.handler))
        self._next()

    def serve(self, invocation: Invocation, *, dying: Callable[[Any], object] | None = None) -> Result:
        """
        Deliver one invocation and return what the caller gets; a process that is missing is started.

        With `dying` the process is killed after the commit and before the answer leaves; it is called just before, with the
        user's object.
        """
        self.invocations += 1
        try:
            self.start()
        except BaseException as error:  # noqa: BLE001 - init is the user's code
            found = None if self._claim is None else self._claim.start
            return attrs.evolve(self._failed(invocation, failure_from(error), None), start=found)
        self.thaw()
        process, claimed = self._process, self._claim
        assert process is not None  # just started
        assert claimed is not None
        platform = self._platform
        thaw = None
        if self._idle_since is not None:
            thaw = thaw_between(self._idle_since, platform.now(), thaw_after=platform.thaw_after)
        self._lifecycle.push("invoke")
        claimed.write("invoke", invocation.request_id, invocation.deadline_ms)
        answer = process.invoke(invocation, thaw=thaw)
        self.starts[answer.context.start] += 1
        result = self._deliver(invocation, answer)
        if platform.watcher is not None:
            platform.watcher("answered", process.handler)
        if dying is not None:
            dying(process.handler)
            self.kill()
            killed = _failure(invocation, "Runtime.ExitError", "Runtime exited with error: signal: killed")
            return self._failed(invocation, killed, answer.context)
        if self._is_over(invocation):
            process.finish(answer, accepted=False)
            self._time_out(invocation)
            late = _failure(invocation, "Sandbox.Timedout", f"Task timed out after {platform.timeout:.2f} seconds")
            return self._failed(invocation, late, answer.context)
        self._lifecycle.push("response" if result.function_error is None else "error")
        process.finish(answer)
        claimed.answered()
        if answer.wants_reset:
            self.end("failure", told=False)
        elif self._is_over(invocation):
            self._time_out(invocation)  # the caller has its answer; after_response took too long
        else:
            self._next()
        return result

    def freeze(self) -> None:
        """Stop it where it waits for an event."""
        if self._lifecycle.allows("freeze"):
            self._lifecycle.push("freeze")

    def thaw(self) -> None:
        """Let it run; an invocation does so by itself."""
        if self._lifecycle.state == "frozen":
            self._lifecycle.push("thaw")

    def reset(self) -> None:
        """
        End the process after its last steps, as the platform does on a failure; `/tmp` stays.

        A process that waits for an event cannot tell it from a spindown, so that is the reason it is given.
        """
        self.end("spindown")

    def kill(self) -> None:
        """End the process between two instructions: no hook, no flush; `/tmp` stays."""
        if self._process is not None:
            self._process.abandon()
            self._process = None
        if self._claim is not None:
            self._claim.abandon()
        if self._lifecycle.allows("kill"):
            self._lifecycle.push("kill")
        self._idle_since = None

    def end(self, reason: ShutdownReason, *, told: bool = True, interrupted: bool = False) -> None:
        """
        Run the last steps, then the process ends; `told` by SIGTERM, so to speak.

        `interrupted` means that a handler still runs beside them.
        """
        self.thaw()
        if self._process is None or self._claim is None:
            return
        if told:
            self._claim.say("term")
        if self._lifecycle.allows("terminate"):
            self._lifecycle.push("terminate")
        shutdown = Shutdown(reason, self._platform.shutdown_budget, interrupted=interrupted, clock=self._platform.clock)
        self.last_shutdown = self._process.shutdown(shutdown, overlapping=interrupted)
        if not interrupted:
            self._claim.close("exit")
        self.kill()

    def remove(self) -> None:
        """The environment is gone, `/tmp` with it."""
        self.kill()
        shutil.rmtree(self.tmp, ignore_errors=True)

    # ---- the steps of an invocation

    def _next(self) -> None:
        assert self._claim is not None
        self._lifecycle.push("next")
        self._claim.write("next")
        self._lifecycle.push("freeze")
        self._idle_since = self._platform.now()

    def _is_over(self, invocation: Invocation) -> bool:
        return self._platform.clock.wall() * 1000.0 >= invocation.deadline_ms

    def _time_out(self, invocation: Invocation) -> None:
        self._lifecycle.push("timeout")
        late = self._platform.clock.wall() - invocation.deadline_ms / 1000.0
        self.end("timeout", interrupted=late > self._platform.shutdown_budget * _GRACE)

    def _deliver(self, invocation: Invocation, answer: Answer) -> Result:
        outcome = answer.outcome
        context = answer.context
        if isinstance(outcome, Failure):
            return self._failed(invocation, outcome, context)
        if not isinstance(outcome, StreamedSuccess):
            return self._succeeded(invocation, outcome.body, outcome.content_type, context)
        chunks: list[bytes] = []
        try:
            chunks.extend(outcome.chunks)
        except BaseException as error:  # noqa: BLE001 - the user's generator may raise anything
            failed = failure_from(error, request_id=invocation.request_id)
            return attrs.evolve(self._failed(invocation, failed, context), chunks=tuple(chunks))
        whole = self._succeeded(invocation, b"".join(chunks), outcome.content_type, context)
        return attrs.evolve(whole, chunks=tuple(chunks))

    def _succeeded(self, invocation: Invocation, body: bytes, content_type: str, context: Context) -> Result:
        return Result(body, content_type, None, None, invocation.request_id, self.instance, context.start)

    def _failed(self, invocation: Invocation, failure: Failure, context: Context | None) -> Result:
        start = None if context is None else context.start
        return Result(
            failure.body,
            "application/json",
            "Unhandled",
            failure.error_type,
            invocation.request_id,
            self.instance,
            start,
        )


def _failure(invocation: Invocation, error_type: str, message: str) -> Failure:
    """What the platform itself says of an invocation that it ended."""
    text = f"RequestId: {invocation.request_id} Error: {message}"
    return Failure(error_type, json.dumps({"errorType": error_type, "errorMessage": text}).encode())
