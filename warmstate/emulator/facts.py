"""What callers are told: the outcome of an invocation, and an instance as `ps` shows it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from warmstate.emulator.attempt import StartKind
    from warmstate.emulator.environment import Environment

__all__ = ["Instance", "InvokeResult", "describe", "describe_all", "summary"]


@attrs.frozen(kw_only=True)
class InvokeResult:
    """
    What a caller got.

    `status` is that of HTTP: 200, 202 for "Event", 204 for "DryRun". `function_error` is None or "Unhandled".
    `init_failed` tells a function that did not even start from one that failed.
    `start` says how the invocation found the instance. `log_tail` is the end of its log, at most 4 KB.
    Times are in milliseconds; `duration_ms` runs from the event to the runtime's next next.
    """

    status: int
    payload: bytes = b""
    content_type: str = "application/json"
    function_error: str | None = None
    error_type: str | None = None
    init_failed: bool = False
    request_id: str = ""
    executed_version: str = "$LATEST"
    trace_id: str = ""
    instance: str = ""
    start: StartKind | None = None
    duration_ms: float = 0.0
    init_ms: float | None = None
    restore_ms: float | None = None
    billed_ms: int = 0
    max_memory_mb: int = 0
    log_tail: str = ""

    def json(self) -> Any:
        """
        The payload, decoded.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.payload)


@attrs.frozen(kw_only=True)
class Instance:
    """
    One environment as `ps` shows it.

    `state` is init, idle, frozen, running, stopping, reset or gone; `starts` counts its invocations by kind of start.
    `age`, `idle` and `frozen_for` are in seconds; memory is that of all its processes and `tmp` the folder that is its /tmp,
    both in bytes with their limits.
    """

    instance: str
    function: str
    state: str
    pid: int | None
    generation: int
    invocations: int
    starts: dict[str, int]
    age: float
    idle: float
    frozen_for: float
    memory_bytes: int
    memory_limit: int
    tmp: str
    tmp_bytes: int
    tmp_limit: int
    tenant_id: str | None = None


def describe(environment: Environment) -> Instance:
    """One environment as `ps` shows it."""
    function, sandbox = environment.function, environment.sandbox
    now = asyncio.get_running_loop().time()
    return Instance(
        instance=environment.instance,
        function=function.name,
        state=environment.phase,
        pid=sandbox.pid,
        generation=environment.generation,
        invocations=environment.invocations,
        starts={str(kind): count for kind, count in environment.starts.items()},
        age=time.time() - environment.created,
        idle=0.0 if environment.current is not None else now - environment.last_used,
        frozen_for=environment.freezer.frozen_for(),
        memory_bytes=sandbox.memory_bytes(),
        memory_limit=function.memory_mb << 20,
        tmp="" if environment.gone else sandbox.tmp,
        tmp_bytes=0 if environment.gone else sandbox.tmp_bytes(),
        tmp_limit=function.tmp_mb << 20,
        tenant_id=environment.tenant_id,
    )


def summary(result: InvokeResult) -> dict[str, Any]:
    """An invocation's end as JSON for consoles."""
    return {
        "payload": result.payload.decode("utf-8", "replace"),
        "function_error": result.function_error,
        "error_type": result.error_type,
        "init_failed": result.init_failed,
        "instance": result.instance,
        "start": result.start,
        "duration_ms": round(result.duration_ms, 2),
        "init_ms": None if result.init_ms is None else round(result.init_ms, 2),
        "restore_ms": None if result.restore_ms is None else round(result.restore_ms, 2),
        "billed_ms": result.billed_ms,
        "max_memory_mb": result.max_memory_mb,
        "log": result.log_tail,
    }


def describe_all(environments: Iterable[Environment]) -> list[Instance]:
    """Several environments as `ps` shows them."""
    return [describe(environment) for environment in environments]
