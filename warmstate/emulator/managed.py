"""
An environment of Lambda Managed Instances: several invocations at once in one process, and no freezes.

1. An event goes to the call of next that waits longest; without one the environment is busy.
2. An invocation that runs over its time leaves the handler running: its caller gets the error, its late answer a 410.
3. A process that ends takes every invocation in flight with it, and the environment is replaced.

Source: AWS's Runtime Interface Emulator in its Managed Instances mode, and the pages lambda-managed-instances-*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmstate.emulator.environment import Environment
from warmstate.emulator.servers.answers import refuse
from warmstate.emulator.servers.runtime_server import RuntimeServer
from warmstate.lifecycle.machine import Lifecycle
from warmstate.wire import runtime_api as wire

if TYPE_CHECKING:
    from warmstate.emulator.attempt import Attempt
    from warmstate.emulator.servers.exchange import Exchange

__all__ = ["ManagedEnvironment"]


class ManagedEnvironment(Environment):
    """One environment with as many invocations at once as its function allows."""

    in_flight: dict[str, tuple[Attempt, Lifecycle]]
    """By invocation id."""

    def _new_server(self) -> RuntimeServer:
        self.in_flight = {}
        self.taken = 0
        self.late: dict[str, str] = {}
        return ManagedServer(self)

    @property
    def is_free(self) -> bool:
        """Whether a call of next waits that nobody has an event for yet."""
        limit = self.function.max_concurrency or 1
        waiting = sum(not exchange.gone for exchange in self.life.waiters)
        return not self.reserved and not self.gone and self.taken < limit and waiting > self.taken - len(self.in_flight)

    @property
    def is_idle(self) -> bool:
        """Whether no invocation runs in it, though its threads may not be back in next yet."""
        return not self.reserved and not self.gone and not self.taken

    @property
    def phase(self) -> str:
        """As for other environments; "running" while any invocation is in flight."""
        return "running" if self.in_flight and not self.gone else super().phase

    @property
    def is_settling(self) -> bool:
        """Whether a slot that is nobody's may still come: threads call next one after the other, and after an answer."""
        limit = self.function.max_concurrency or 1
        return not self.gone and not self.reserved and self.taken < limit and not self.is_free

    def take(self) -> None:
        """One more event is on its way here."""
        self.taken += 1

    def give_back(self) -> None:
        """One less."""
        self.reserved = False
        self.taken = max(0, self.taken - 1)

    async def die(self) -> None:
        """Another environment takes its place: new processes are never started in this one."""
        await self.close("failure", abrupt=True)

    def freeze(self) -> bool:
        """Managed Instances are never frozen."""
        return False

    async def invoke(self, attempt: Attempt) -> None:
        """Run one attempt among others."""
        begun = self.now()
        attempt.instance, attempt.deadline = self.instance, begun + self.function.timeout
        attempt.start = self._start_kind()
        self.starts[attempt.start] = self.starts.get(attempt.start, 0) + 1
        self.invocations += 1
        lifecycle = Lifecycle("idle")
        self.reporter.start(attempt)
        try:
            await self.waits.until(lambda: bool(self.life.waiters) or self.life.is_broken(), attempt.deadline)
            lifecycle.push("invoke")
            self.in_flight[attempt.invocation_id] = (attempt, lifecycle)
            self._hand_to_oldest(attempt)
            in_time = await self.waits.until(lambda: attempt.answer.done() or self.life.is_broken(), attempt.deadline)
            if not in_time:
                lifecycle.push("timeout")
                self._time_out(attempt)
                self.late[attempt.invocation_id] = attempt.request_id
            elif not attempt.answer.done():
                answer = self.life.last_words(attempt.request_id)
                attempt.fail(answer.error_type, answer.payload)
        finally:
            self.in_flight.pop(attempt.invocation_id, None)
            attempt.duration_ms = (self.now() - begun) * 1000
            attempt.max_memory_mb = self.memory.used_mb()
            self.last_used = self.now()
            self.reporter.report(attempt)
            self.waits.changed()
        if self.life.is_broken() and not self.in_flight:
            await self.close("failure")

    def _hand_to_oldest(self, attempt: Attempt) -> None:
        while self.life.waiters:
            exchange = self.life.waiters.pop(0)
            if not exchange.gone:
                self.server.send_event(exchange, attempt)
                return


class ManagedServer(RuntimeServer):
    """The Runtime API of such an environment: answers are told apart by invocation id."""

    _environment: ManagedEnvironment

    def _next(self, exchange: Exchange) -> None:
        life = self._environment.life
        if life.state == "init":
            life.lifecycle.push("next")
            life.extensions.closed = True
        exchange.ends_with_client = True
        life.waiters.append(exchange)
        self._environment.waits.changed()

    def lifecycle_of(self, attempt: Attempt) -> Lifecycle:
        """Each attempt has its own."""
        return self._environment.in_flight[attempt.invocation_id][1]

    def find(self, exchange: Exchange, request_id: str, event: str) -> Attempt | None:
        """The attempt that an answer is for: by the echoed invocation id, else by the request id."""
        environment = self._environment
        echoed = exchange.header(wire.INVOCATION_ID.lower())
        if echoed:
            attempt, lifecycle = environment.in_flight.get(echoed, (None, None))
            if attempt is None or attempt.request_id != request_id:
                refuse(
                    exchange, 410, "InvokeTimeout", "this attempt has timed out, or the invocation id is another one's"
                )
                return None
        else:
            same = [pair for pair in environment.in_flight.values() if pair[0].request_id == request_id]
            attempt, lifecycle = same[0] if same else (None, None)
            if attempt is None and request_id in environment.late.values():
                refuse(exchange, 410, "InvokeTimeout", "this attempt has timed out")
                return None
        wanted = "stream" if event == "response" and exchange.header(wire.RESPONSE_MODE.lower()) else event
        if attempt is None or lifecycle is None or not lifecycle.allows(wanted):
            refuse(exchange, 400, "InvalidRequestID", "Invalid request ID")
            return None
        return attempt
