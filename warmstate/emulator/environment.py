"""
One execution environment: init, invocations, freeze, thaw, reset, shutdown, as the platform drives them.

Sources: the lifecycle pages of the Lambda documentation (lambda-runtime-environment, runtimes-extensions-api) and the
public code of AWS's Runtime Interface Emulator. What a runtime may call when is decided by `lifecycle.machine`.
The calls themselves come in through `runtime_server`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from typing import TYPE_CHECKING, Final, Literal

import attrs

from warmstate.emulator.attempt import Answer, Attempt, StartKind, error_payload
from warmstate.emulator.extensions import Extensions
from warmstate.emulator.function import CLOCK_FILE
from warmstate.emulator.memory import MemoryWatch
from warmstate.emulator.processes import SpawnError, Warden
from warmstate.emulator.reports import Reporter
from warmstate.emulator.runtime_server import RuntimeServer
from warmstate.emulator.sandbox import Sandbox
from warmstate.lifecycle.machine import Lifecycle
from warmstate.lifecycle.moved_clock import write_shift

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.emulator.function import Function, InitializationType
    from warmstate.emulator.http_server import Exchange
    from warmstate.emulator.journal import Journal

__all__ = ["Environment", "InitResult"]

THAW_AFTER: Final = 1.0
"""Seconds of freeze from which a start counts as "thaw", as the runtime counts by default."""
EXIT_GRACE: Final = 0.5
"""Seconds that a runtime gets to exit by itself after it reported an init error."""

ShutdownReason = Literal["spindown", "timeout", "failure"]


@attrs.frozen
class InitResult:
    """How an init phase ended: "success", "error" or "timeout", after `ms` milliseconds, with what it leaves a caller."""

    status: Literal["success", "error", "timeout"]
    ms: float
    answer: Answer | None = None


class Environment:
    """
    One environment of a function, one invocation at a time.

    `instance` is its name here ("i-1"); `generation` counts its processes.
    """

    def __init__(
        self, function: Function, warden: Warden, journal: Journal, instance: str, kind: InitializationType
    ) -> None:
        self.function: Final = function
        self.instance: Final = instance
        self.kind: Final = kind
        self.journal: Final = journal
        self.log_stream: Final = time.strftime("%Y/%m/%d", time.gmtime()) + f"/[{function.version}]{uuid.uuid4().hex}"
        self.sandbox: Final = Sandbox(function, warden, f"{instance}-{uuid.uuid4().hex[:8]}", self._line)
        self.reporter: Final = Reporter(self)
        self.memory: Final = MemoryWatch(self.sandbox, function.memory_mb << 20, self._changed)
        self.server: Final = self._new_server()
        self.lifecycle = Lifecycle("ended")
        self.extensions = self._new_extensions()
        self.generation = 0
        self.invocations = 0
        self.starts: dict[StartKind, int] = {}
        self.tenant_id: str | None = None
        self.created: Final = time.time()
        self.last_used = self._now()
        self.frozen_since: float | None = None
        self.clock_shift = 0.0
        """Seconds by which the wall clock of this environment was moved ahead."""
        self.moved_while_frozen = 0.0
        self.reserved = True
        """Taken by the pool for an event or an init; nobody else may use it."""
        self.gone = False
        self.waiters: list[Exchange] = []
        self.restore_waiter: Exchange | None = None
        self.current: Attempt | None = None
        self.last_request_id = ""
        self.wedged = False
        self.init_failure: Answer | None = None
        self._waits: set[asyncio.Future[None]] = set()
        self._next_start: StartKind = "cold"
        self.on_change: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<Environment {self.instance} of {self.function.name}: {self.phase}, generation {self.generation}>"

    @property
    def phase(self) -> str:
        """One word for people: init, idle, frozen, running, stopping, reset (no process until the next event), gone."""
        if self.gone:
            return "gone"
        words = {
            "init": "init",
            "failed": "init",
            "snapshot": "frozen" if self.frozen_since is not None else "init",
            "restoring": "running",
            "invoking": "running",
            "streaming": "running",
            "answered": "running",
            "expired": "stopping",
            "ended": "reset" if self.generation else "new",
        }
        return words.get(self.lifecycle.state, self.lifecycle.state)

    @property
    def is_free(self) -> bool:
        """Whether an event may be given to it."""
        return not self.reserved and not self.gone

    def take(self) -> None:
        """An event, or a verb, has it now."""
        self.reserved = True

    def give_back(self) -> None:
        """Whoever took it is done."""
        self.reserved = False

    @property
    def is_settling(self) -> bool:
        """Whether its caller has the answer and the runtime is not back in next yet."""
        return self.reserved and self.lifecycle.state == "answered" and not self.gone

    async def open(self) -> None:
        """Make its /tmp and its Runtime API."""
        await self.sandbox.open()
        await self.server.start()
        self.journal.add("warmstate.instance", self.function.name, self.instance, kind=self.kind, tmp=self.sandbox.tmp)

    # --- init ---------------------------------------------------------------------------------------------------------

    async def init(self, limit: float, phase: Literal["init", "invoke"] = "init") -> InitResult:
        """Start the processes and wait until the runtime and all extensions called next."""
        begun = self._now()
        self.generation += 1
        self.lifecycle = Lifecycle()
        self.extensions = self._new_extensions()
        self.waiters, self.restore_waiter = [], None
        self.wedged, self.init_failure = False, None
        self.reporter.init_start(phase)
        try:
            await self.sandbox.start_extensions(self.server.address, self.log_stream, self._changed)
            await self._until(lambda: not self.extensions.missing or self._broken(), begun + limit)
            if not self._broken():
                await self.sandbox.start_runtime(self.server.address, self.log_stream, self.kind, self._changed)
            self.memory.start()
            in_time = await self._until(self._is_init_over, begun + limit)
        except SpawnError as error:
            in_time, self.init_failure = (
                True,
                Answer(error_payload("Runtime.InvalidEntrypoint", str(error)), error_type="Runtime.InvalidEntrypoint"),
            )
        ms = (self._now() - begun) * 1000
        if self._is_ready():
            result = InitResult("success", ms)
        elif not in_time:
            self.lifecycle.push("timeout")
            message = f"Init phase timed out after {limit:.2f} seconds"
            result = InitResult(
                "timeout", ms, Answer(error_payload("Sandbox.Timedout", message), error_type="Sandbox.Timedout")
            )
        else:
            result = InitResult("error", ms, await self._why_init_failed())
        self.reporter.init_done(phase, result)
        if result.status != "success":
            await self._end_processes()
        self.last_used = self._now()
        self._changed()
        return result

    async def _why_init_failed(self) -> Answer:
        if self.init_failure is not None:
            await self._until(lambda: self.sandbox.runtime_exit is not None, self._now() + EXIT_GRACE)
            return self.init_failure
        return self._exit_answer("")

    def _is_init_over(self) -> bool:
        return self._is_ready() or self._broken()

    def _is_ready(self) -> bool:
        return self.lifecycle.state in {"idle", "snapshot"} and self.extensions.are_ready and not self._broken()

    def _broken(self) -> bool:
        """Whether this generation of processes cannot go on."""
        return (
            self.init_failure is not None
            or self.memory.exceeded
            or self.sandbox.runtime_exit is not None
            or self.sandbox.failed_extension is not None
        )

    # --- invoke -------------------------------------------------------------------------------------------------------

    async def invoke(self, attempt: Attempt) -> None:
        """Run one attempt to the end of its invoke phase; its answer may be there earlier."""
        self.current, attempt.instance = attempt, self.instance
        self.tenant_id = self.tenant_id or attempt.tenant_id
        if self.lifecycle.state != "ended" and self._broken():  # it died while it was idle and not frozen
            await self.reset("failure", self._why_broken())
        begun = self._now()
        attempt.deadline = begun + self.function.timeout
        attempt.start = self._start_kind()
        self.starts[attempt.start] = self.starts.get(attempt.start, 0) + 1
        self.invocations += 1
        self.memory.start()
        self.reporter.start(attempt)
        try:
            if await self._prepare(attempt):
                await self._deliver(attempt)
        finally:
            attempt.duration_ms = (self._now() - begun) * 1000
            attempt.max_memory_mb = self.memory.stop()
            self.last_request_id, self.current = attempt.request_id, None
            self.last_used = self._now()
            self.reporter.report(attempt)
            attempt.done.set()
            self._changed()

    def _start_kind(self) -> StartKind:
        if self._next_start != "warm":
            kind, self._next_start = self._next_start, "warm"
            return kind
        return "thaw" if self.frozen_for() > self._thaw_after() else "warm"

    def _thaw_after(self) -> float:
        try:
            return float(self.function.environment["WARMSTATE_THAW_AFTER"])
        except (KeyError, ValueError):
            return THAW_AFTER

    def mark_start(self, kind: StartKind) -> None:
        """The next invocation will be the first of its kind here."""
        self._next_start = kind

    async def _prepare(self, attempt: Attempt) -> bool:
        """Make the runtime wait in next; False when it did not come to that, and the attempt is answered."""
        if self.lifecycle.state == "ended":
            result = await self.init(attempt.deadline - self._now(), "invoke")
            if result.status == "timeout":
                self._time_out(attempt)
                return False
            if result.answer is not None:
                attempt.init_failed = True
                attempt.fail(result.answer.error_type, result.answer.payload)
                return False
        self.thaw()
        return not (self.lifecycle.state == "snapshot" and not await self._restore(attempt))

    async def _restore(self, attempt: Attempt) -> bool:
        """Wake the runtime from restore/next and wait for its first next; 10 s, as after a SnapStart restore."""
        begun = self._now()
        self.lifecycle.push("restored")
        if self.restore_waiter is not None:
            self.restore_waiter.respond(200, b"")
        in_time = await self._until(
            lambda: self.lifecycle.state == "idle" or self._broken(), begun + self.function.init_timeout
        )
        self.reporter.restored((self._now() - begun) * 1000)
        if self.lifecycle.state == "idle" and not self._broken():
            return True
        failure = self.init_failure or self._exit_answer(attempt.request_id)
        if not in_time:
            payload = error_payload("Sandbox.Timedout", "Restore phase timed out")
            failure = Answer(payload, error_type="Sandbox.Timedout")
        attempt.fail(failure.error_type, failure.payload)
        await self.reset("failure", "restore failed")
        return False

    async def _deliver(self, attempt: Attempt) -> None:
        self.lifecycle.push("invoke")
        self.extensions.send("INVOKE", self.reporter.invoke_event(attempt))
        self.hand_over()
        in_time = await self._until(self._is_invoke_over, attempt.deadline)
        if self._broken():
            answer = self._exit_answer(attempt.request_id)
            attempt.fail(answer.error_type, answer.payload)
            await self.reset("failure", self._why_broken())
        elif not in_time:
            self._time_out(attempt)
            await self.reset("timeout", "timeout")

    def _is_invoke_over(self) -> bool:
        return self._broken() or (self.lifecycle.state == "idle" and self.extensions.are_idle)

    def _time_out(self, attempt: Attempt) -> None:
        if self.lifecycle.allows("timeout"):
            self.lifecycle.push("timeout")
        message = f"RequestId: {attempt.request_id} Error: Task timed out after {self.function.timeout:.2f} seconds"
        attempt.fail("Sandbox.Timedout", error_payload("Sandbox.Timedout", message))

    def hand_over(self) -> None:
        """Give the current event to a runtime that waits in next; the newest call wins, as on the real thing."""
        attempt = self.current
        if attempt is None or self.lifecycle.state != "invoking":
            return
        while self.waiters:
            exchange = self.waiters.pop()
            if not exchange.gone.is_set():
                self.server.send_event(exchange, attempt)
                return

    def _exit_answer(self, request_id: str) -> Answer:
        prefix = f"RequestId: {request_id} Error: " if request_id else ""
        extension = self.sandbox.failed_extension
        if self.memory.exceeded:
            ended = "Runtime exited with error: signal: killed"
        elif extension is not None:
            kind = "Extension.Crash"
            return Answer(error_payload(kind, f"{prefix}extension {extension} ended: {kind}"), error_type=kind)
        else:
            code = self.sandbox.runtime_exit
            bare = code is None or (code.code == 0 and code.signal == 0)
            ended = "Runtime exited without providing a reason" if bare else f"Runtime exited with error: {code}"
        return Answer(error_payload("Runtime.ExitError", prefix + ended), error_type="Runtime.ExitError")

    def _why_broken(self) -> str:
        if self.memory.exceeded:
            return "memory"
        return "extension" if self.sandbox.failed_extension else "crash"

    # --- freeze and thaw ----------------------------------------------------------------------------------------------

    def freeze(self) -> bool:
        """Stop every process, if the runtime waits in next (or restore/next); False when it does not."""
        if self.lifecycle.state not in {"idle", "snapshot"} or self.frozen_since is not None:
            return self.frozen_since is not None
        self.lifecycle.push("freeze")
        self.sandbox.freeze()
        self.frozen_since, self.moved_while_frozen = self._now(), 0.0
        self.journal.add("warmstate.freeze", self.function.name, self.instance)
        return True

    def thaw(self) -> float:
        """Let the processes go on; returns for how many seconds they were frozen."""
        if self.frozen_since is None:
            return 0.0
        seconds = self.frozen_for()
        self.lifecycle.push("thaw")
        self.sandbox.thaw()
        self.frozen_since = None
        self.journal.add("warmstate.thaw", self.function.name, self.instance, frozenMs=round(seconds * 1000, 3))
        return seconds

    async def settled_freeze(self) -> None:
        """Wait until the kernel has stopped every process; it does so within microseconds."""
        end = self._now() + 1.0
        while not self.sandbox.is_stopped() and self._now() < end:  # noqa: ASYNC110 - the kernel sends no event
            await asyncio.sleep(0.001)

    def frozen_for(self) -> float:
        """Seconds since it was frozen, by the environment's own wall clock; 0.0 while it runs."""
        return 0.0 if self.frozen_since is None else self._now() - self.frozen_since + self.moved_while_frozen

    def move_clock(self, seconds: float) -> None:
        """Let the environment believe that `seconds` more have passed while it was frozen."""
        self.clock_shift += seconds
        self.moved_while_frozen += seconds
        write_shift(os.path.join(self.sandbox.tmp, CLOCK_FILE), self.clock_shift, self.clock_shift)
        self.journal.add("warmstate.clock", self.function.name, self.instance, movedMs=round(seconds * 1000))

    # --- the end of processes -----------------------------------------------------------------------------------------

    async def reset(self, reason: ShutdownReason, why: str) -> None:
        """End the processes and keep the environment with its /tmp; the next event starts new ones."""
        await self._end_processes(reason)
        self._next_start = "reset"
        self.journal.add("warmstate.reset", self.function.name, self.instance, reason=why, generation=self.generation)

    async def crash(self) -> None:
        """Kill every process without a word, as the kernel does when memory runs out; /tmp stays."""
        if not self.is_free:
            self.sandbox.signal(signal.SIGKILL)  # whoever waits for the invocation sees the end, and resets
            return
        self.reserved = True
        await self.sandbox.kill()
        self._note_end("kill")
        self._next_start = "reset"
        self.journal.add(
            "warmstate.reset", self.function.name, self.instance, reason="kill", generation=self.generation
        )
        self.reserved = False
        self._changed()

    async def close(self, reason: ShutdownReason = "spindown", *, abrupt: bool = False) -> None:
        """End the environment: shutdown, then /tmp is gone."""
        if self.gone:
            return
        self.reserved = True
        if not abrupt:
            await self._end_processes(reason)
        self.gone = True
        await self.sandbox.close()
        await self.server.close()
        self.journal.add(
            "warmstate.gone", self.function.name, self.instance, reason=reason, invocations=self.invocations
        )
        self._changed()

    async def _end_processes(self, reason: ShutdownReason = "failure") -> None:
        if self.sandbox.pid is not None:
            from warmstate.emulator.shutdown import shut_down

            self.thaw()
            if self.lifecycle.allows("terminate"):
                self.lifecycle.push("terminate")
            await shut_down(self, reason)
        await self.sandbox.kill()
        self._note_end("exit")

    def _note_end(self, event: str) -> None:
        self.frozen_since = None
        self.waiters, self.restore_waiter = [], None
        if self.lifecycle.state != "ended":
            self.lifecycle = Lifecycle("ended") if not self.lifecycle.allows(event) else self.lifecycle
            if self.lifecycle.state != "ended":
                self.lifecycle.push(event)

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _new_server(self) -> RuntimeServer:
        return RuntimeServer(self)

    def _new_extensions(self) -> Extensions:
        names = frozenset(self.sandbox.external_extensions())
        return Extensions(names, managed=self.function.is_managed, changed=self._changed)

    def _line(self, source: str, text: str) -> None:
        request_id = self.current.request_id if self.current is not None else ""
        self.reporter.line(source, text, request_id)

    def _changed(self) -> None:
        """Something happened that a wait of this environment, or of the pool, may be about."""
        for waiting in self._waits:
            _wake(waiting)
        self.on_change()

    changed = _changed

    async def _until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Wait for `condition`, looked at whenever something happened; False when `deadline` came first."""
        loop = asyncio.get_running_loop()
        while not condition():
            if loop.time() >= deadline:
                return False
            woken: asyncio.Future[None] = loop.create_future()
            self._waits.add(woken)
            timer = loop.call_at(deadline, _wake, woken)
            try:
                await woken
            finally:
                timer.cancel()
                self._waits.discard(woken)
        return True

    until = _until

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
