"""The Init phase and the Restore phase of an environment: from starting its processes to the runtime's first next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from warmstate.emulator.attempt import Answer, Attempt, error_payload
from warmstate.emulator.processes.processes import SpawnError
from warmstate.lifecycle.machine import Lifecycle

if TYPE_CHECKING:
    from warmstate.emulator.environment import Environment

__all__ = ["InitResult", "Phase", "initialize", "restore"]

EXIT_GRACE: Final = 0.5
"""Seconds that a runtime gets to exit by itself after it reported an init error."""

Phase = Literal["init", "invoke"]
"""Whether init runs before any invocation, or as a part of one."""


@attrs.frozen
class InitResult:
    """How an init phase ended: "success", "error" or "timeout", after `ms` milliseconds, with what it leaves a caller."""

    status: Literal["success", "error", "timeout"]
    ms: float
    answer: Answer | None = None


async def initialize(environment: Environment, limit: float, phase: Phase) -> InitResult:
    """Start a new generation of processes, and wait for `limit` seconds until the runtime and all extensions called next."""
    begun = environment.now()
    sandbox, server = environment.sandbox, environment.server
    environment.generation += 1
    environment.lifecycle = Lifecycle()
    environment.extensions = environment.new_extensions()
    environment.waiters, environment.restore_waiter = [], None
    environment.wedged, environment.init_failure = False, None
    environment.memory.start()
    environment.reporter.init_start(phase)
    try:
        await sandbox.start_extensions(server.address, environment.log_stream, environment.changed)
        await environment.waits.until(
            lambda: not environment.extensions.missing or environment.is_broken(), begun + limit
        )
        if not environment.is_broken():
            await sandbox.start_runtime(server.address, environment.log_stream, environment.kind, environment.changed)
        in_time = await environment.waits.until(
            lambda: _is_ready(environment) or environment.is_broken(), begun + limit
        )
    except SpawnError as error:
        kind, in_time = "Runtime.InvalidEntrypoint", True
        environment.init_failure = Answer(error_payload(kind, str(error)), error_type=kind)
    ms = (environment.now() - begun) * 1000
    if _is_ready(environment):
        result = InitResult("success", ms)
    elif not in_time:
        environment.lifecycle.push("timeout")
        payload = error_payload("Sandbox.Timedout", f"Init phase timed out after {limit:.2f} seconds")
        result = InitResult("timeout", ms, Answer(payload, error_type="Sandbox.Timedout"))
    else:
        result = InitResult("error", ms, await _why_it_failed(environment))
    environment.reporter.init_done(phase, result)
    if result.status != "success":
        await environment.end_processes()
    environment.last_used = environment.now()
    environment.changed()
    return result


async def restore(environment: Environment, attempt: Attempt) -> bool:
    """
    Wake the runtime from restore/next and wait for its first next; 10 s, as after a SnapStart restore.

    False when it did not come; then the attempt is answered and the environment reset.
    """
    begun = environment.now()
    environment.lifecycle.push("restored")
    if environment.restore_waiter is not None:
        environment.restore_waiter.respond(200, b"")
    in_time = await environment.waits.until(
        lambda: environment.lifecycle.state == "idle" or environment.is_broken(),
        begun + environment.function.init_timeout,
    )
    environment.reporter.restored((environment.now() - begun) * 1000)
    if environment.lifecycle.state == "idle" and not environment.is_broken():
        return True
    failure = environment.init_failure or environment.exit_answer(attempt.request_id)
    if not in_time:
        payload = error_payload("Sandbox.Timedout", "Restore phase timed out")
        failure = Answer(payload, error_type="Sandbox.Timedout")
    attempt.fail(failure.error_type, failure.payload)
    await environment.reset("failure", "restore failed")
    return False


async def _why_it_failed(environment: Environment) -> Answer:
    if environment.init_failure is None:
        return environment.exit_answer("")
    await environment.waits.until(lambda: environment.sandbox.runtime_exit is not None, environment.now() + EXIT_GRACE)
    return environment.init_failure


def _is_ready(environment: Environment) -> bool:
    in_next = environment.lifecycle.state in {"idle", "snapshot"}
    return in_next and environment.extensions.are_ready and not environment.is_broken()
