"""
One execution environment: init, invocations, freeze, thaw, reset, shutdown, as the platform drives them.

Sources: the lifecycle pages of the Lambda documentation (lambda-runtime-environment, runtimes-extensions-api) and the
public code of AWS's Runtime Interface Emulator. What a runtime may call when is decided by `lifecycle.machine`.
The calls themselves come in through `runtime_server`.
"""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, Literal

from warmstate.emulator.extensions import Extensions
from warmstate.emulator.failures import exit_answer, timeout_payload
from warmstate.emulator.init_phase import InitResult, Phase, initialize, restore
from warmstate.emulator.processes.freezer import Freezer
from warmstate.emulator.processes.memory import MemoryWatch
from warmstate.emulator.processes.sandbox import Sandbox
from warmstate.emulator.reports import Reporter
from warmstate.emulator.servers.runtime_server import RuntimeServer
from warmstate.emulator.waits import Waits
from warmstate.lifecycle.machine import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.emulator.attempt import Answer, Attempt, StartKind
    from warmstate.emulator.function import Function, InitializationType
    from warmstate.emulator.journal import Journal
    from warmstate.emulator.processes.processes import Warden
    from warmstate.emulator.servers.exchange import Exchange

__all__ = ["Environment"]

THAW_AFTER: Final = 1.0
"""Seconds of freeze from which a start counts as "thaw", as the runtime counts by default."""
ShutdownReason = Literal["spindown", "timeout", "failure"]


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
        self.waits: Final = Waits()
        self.freezer: Final = Freezer(self.sandbox, self._note)
        self.reporter: Final = Reporter(self)
        self.memory: Final = MemoryWatch(self.sandbox, function.memory_mb << 20, self._changed)
        self.server: Final = self._new_server()
        self.lifecycle = Lifecycle("ended")
        self.extensions = self.new_extensions()
        self.generation = 0
        self.invocations = 0
        self.starts: dict[StartKind, int] = {}
        self.tenant_id: str | None = None
        self.created: Final = time.time()
        self.last_used = self.now()
        self.reserved = True
        """Taken by the pool for an event or an init; nobody else may use it."""
        self.gone = False
        self.waiters: list[Exchange] = []
        self.restore_waiter: Exchange | None = None
        self.current: Attempt | None = None
        self.last_request_id = ""
        self.wedged = False
        self.init_failure: Answer | None = None
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
            "snapshot": "frozen" if self.freezer.is_frozen else "init",
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
        self._note("warmstate.instance", kind=self.kind, tmp=self.sandbox.tmp)

    # --- init ---------------------------------------------------------------------------------------------------------

    async def init(self, limit: float, phase: Phase = "init") -> InitResult:
        """Start new processes and wait until the runtime and all extensions called next."""
        return await initialize(self, limit, phase)

    def is_broken(self) -> bool:
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
        if self.lifecycle.state != "ended" and self.is_broken():  # it died while it was idle and not frozen
            await self.reset("failure", self._why_broken())
        begun = self.now()
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
            attempt.duration_ms = (self.now() - begun) * 1000
            attempt.max_memory_mb = self.memory.stop()
            self.last_request_id, self.current = attempt.request_id, None
            self.last_used = self.now()
            self.reporter.report(attempt)
            attempt.done.set()
            self._changed()

    def _start_kind(self) -> StartKind:
        if self._next_start != "warm":
            kind, self._next_start = self._next_start, "warm"
            return kind
        return "thaw" if self.freezer.frozen_for() > self._thaw_after() else "warm"

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
            result = await self.init(attempt.deadline - self.now(), "invoke")
            if result.status == "timeout":
                self._time_out(attempt)
                return False
            if result.answer is not None:
                attempt.init_failed = True
                attempt.fail(result.answer.error_type, result.answer.payload)
                return False
        self.thaw()
        return not (self.lifecycle.state == "snapshot" and not await restore(self, attempt))

    async def _deliver(self, attempt: Attempt) -> None:
        self.lifecycle.push("invoke")
        self.extensions.send("INVOKE", self.reporter.invoke_event(attempt))
        self.hand_over()
        in_time = await self.waits.until(self._is_invoke_over, attempt.deadline)
        if self.is_broken():
            answer = self.exit_answer(attempt.request_id)
            attempt.fail(answer.error_type, answer.payload)
            await self.reset("failure", self._why_broken())
        elif not in_time:
            self._time_out(attempt)
            await self.reset("timeout", "timeout")

    def _is_invoke_over(self) -> bool:
        return self.is_broken() or (self.lifecycle.state == "idle" and self.extensions.are_idle)

    def _time_out(self, attempt: Attempt) -> None:
        if self.lifecycle.allows("timeout"):
            self.lifecycle.push("timeout")
        attempt.fail("Sandbox.Timedout", timeout_payload(attempt.request_id, self.function.timeout))

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

    def exit_answer(self, request_id: str) -> Answer:
        """What a caller is told about the end of a process."""
        return exit_answer(self.sandbox, request_id, out_of_memory=self.memory.exceeded)

    def _why_broken(self) -> str:
        if self.memory.exceeded:
            return "memory"
        return "extension" if self.sandbox.failed_extension else "crash"

    # --- freeze and thaw ----------------------------------------------------------------------------------------------

    def freeze(self) -> bool:
        """Stop every process, if the runtime waits in next (or restore/next); False when it does not."""
        if self.lifecycle.state not in {"idle", "snapshot"} or self.freezer.is_frozen:
            return self.freezer.is_frozen
        self.lifecycle.push("freeze")
        self.freezer.freeze()
        return True

    def thaw(self) -> None:
        """Let the processes go on, if they are frozen."""
        if self.freezer.is_frozen:
            self.lifecycle.push("thaw")
            self.freezer.thaw()

    # --- the end of processes -----------------------------------------------------------------------------------------

    async def reset(self, reason: ShutdownReason, why: str) -> None:
        """End the processes and keep the environment with its /tmp; the next event starts new ones."""
        await self.end_processes(reason)
        self._next_start = "reset"
        self._note("warmstate.reset", reason=why, generation=self.generation)

    async def crash(self) -> None:
        """Kill every process without a word, as the kernel does when memory runs out; /tmp stays."""
        if not self.is_free:
            self.sandbox.signal(signal.SIGKILL)  # whoever waits for the invocation sees the end, and resets
            return
        self.reserved = True
        await self.sandbox.kill()
        self._note_end("kill")
        self._next_start = "reset"
        self._note("warmstate.reset", reason="kill", generation=self.generation)
        self.reserved = False
        self._changed()

    async def close(self, reason: ShutdownReason = "spindown", *, abrupt: bool = False) -> None:
        """End the environment: shutdown, then /tmp is gone."""
        if self.gone:
            return
        self.reserved = True
        if not abrupt:
            await self.end_processes(reason)
        self.gone = True
        await self.sandbox.close()
        await self.server.close()
        self._note("warmstate.gone", reason=reason, invocations=self.invocations)
        self._changed()

    async def end_processes(self, reason: ShutdownReason = "failure") -> None:
        """The Shutdown phase, then no process is left."""
        if self.sandbox.pid is not None:
            from warmstate.emulator.shutdown import shut_down

            self.thaw()
            if self.lifecycle.allows("terminate"):
                self.lifecycle.push("terminate")
            await shut_down(self, reason)
        await self.sandbox.kill()
        self._note_end("exit")

    def _note_end(self, event: str) -> None:
        self.freezer.forget()
        self.waiters, self.restore_waiter = [], None
        if self.lifecycle.state != "ended":
            self.lifecycle = Lifecycle("ended") if not self.lifecycle.allows(event) else self.lifecycle
            if self.lifecycle.state != "ended":
                self.lifecycle.push(event)

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _new_server(self) -> RuntimeServer:
        return RuntimeServer(self)

    def new_extensions(self) -> Extensions:
        """An empty registry for a new generation of processes."""
        names = frozenset(self.sandbox.external_extensions())
        return Extensions(names, managed=self.function.is_managed, changed=self._changed)

    def _note(self, event_type: str, **record: Any) -> None:
        self.journal.add(event_type, self.function.name, self.instance, **record)

    def _line(self, source: str, text: str) -> None:
        request_id = self.current.request_id if self.current is not None else ""
        self.reporter.line(source, text, request_id)

    def _changed(self) -> None:
        self.waits.changed()
        self.on_change()

    changed = _changed

    def now(self) -> float:
        r"""The event loop\'s clock, in seconds."""
        return asyncio.get_running_loop().time()
