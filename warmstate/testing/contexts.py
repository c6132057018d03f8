"""Contexts for tests that call a handler's methods directly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmstate.context import Context
from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.environment import Environment
from warmstate.wire.runtime_api import Invocation

if TYPE_CHECKING:
    from warmstate.lifecycle.events import StartKind, Thaw

__all__ = ["context"]


def context(
    *,
    request_id: str = "8f5c2d1e-0000-4000-8000-000000000001",
    start: StartKind = "warm",
    thaw: Thaw | None = None,
    seconds_left: float = 30.0,
    generation: int = 1,
    invocation_number: int = 1,
    tenant_id: str | None = None,
    function_name: str = "function",
    memory_mb: int = 1024,
    clock: Clock = SYSTEM_CLOCK,
) -> Context:
    """
    Make the context that a handler would be given for such an invocation.

    Args:
        request_id: Its `aws_request_id`.
        start: How it found the instance.
        thaw: The freeze before it, if there was one.
        seconds_left: Seconds until its deadline, counted from now on `clock`.
        generation: Which process of the environment it is, from 1.
        invocation_number: Which invocation of the process it is, from 1.
        tenant_id: Its tenant.
        function_name: Its `function_name`.
        memory_mb: The function's memory.
        clock: What its `remaining` is read from.
    """
    invocation = Invocation(
        request_id, b"{}", deadline_ms=int((clock.wall() + seconds_left) * 1000), tenant_id=tenant_id
    )
    return Context(
        invocation,
        Environment(function_name=function_name, function_version="$LATEST", memory_mb=memory_mb),
        start=start,
        thaw=thaw,
        generation=generation,
        invocation_number=invocation_number,
        attempt=1,
        redelivered=False,
        clock=clock,
    )
