"""The platform's own words about an environment: START, END and REPORT lines, and their events in the journal."""

from __future__ import annotations

import collections
import math
import time
from typing import TYPE_CHECKING, Any, Final

from warmstate.wire.invoke_api import LOG_TAIL_BYTES

if TYPE_CHECKING:
    from warmstate.emulator.attempt import Attempt
    from warmstate.emulator.environment import Environment
    from warmstate.emulator.init_phase import InitResult

__all__ = ["Reporter"]

TAIL_LINES: Final = 2_000


class Reporter:
    """Writes what Lambda writes to a function's log, with figures that are true of this machine."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._init_ms: float | None = None
        """Of an init that was not part of an invocation, for the first REPORT."""

    def line(self, source: str, text: str, request_id: str) -> None:
        """A process wrote a line."""
        self._tail.append(text)
        self._add("function" if source == "runtime" else "extension", line=text, requestId=request_id, source=source)

    def init_start(self, phase: str) -> None:
        """Processes are about to start."""
        environment = self._environment
        if phase == "init":
            self._platform_line(f"INIT_START Runtime Version: warmstate\tGeneration: {environment.generation}")
        self._add(
            "platform.initStart", initializationType=environment.kind, phase=phase, generation=environment.generation
        )

    def init_done(self, phase: str, result: InitResult) -> None:
        """Init ended, one way or the other."""
        milliseconds = round(result.ms, 2)
        error = result.answer.error_type if result.answer is not None else None
        record: dict[str, Any] = {"initializationType": self._environment.kind, "phase": phase, "status": result.status}
        if error:
            record["errorType"] = error
        self._add("platform.initRuntimeDone", **record)
        self._add(
            "platform.initReport", **record, metrics={"durationMs": milliseconds}, pid=self._environment.sandbox.pid
        )
        if result.status != "success":
            status = f"Status: {result.status}" + (f"\tError Type: {error}" if result.status == "error" else "")
            self._platform_line(f"INIT_REPORT Init Duration: {milliseconds:.2f} ms\tPhase: {phase}\t{status}")
        elif phase == "init":
            self._init_ms = result.ms

    def restored(self, ms: float) -> None:
        """A restore ended."""
        self._platform_line(f"RESTORE_REPORT Restore Duration: {ms:.2f} ms")
        self._add("platform.restoreReport", metrics={"durationMs": round(ms, 2)})

    def start(self, attempt: Attempt) -> None:
        """An invocation begins."""
        self._tail.clear()
        attempt.init_ms, self._init_ms = self._init_ms, None
        self._platform_line(f"START RequestId: {attempt.request_id} Version: {self._environment.function.version}")
        self._add(
            "platform.start",
            requestId=attempt.request_id,
            version=self._environment.function.version,
            start=attempt.start,
        )

    def invoke_event(self, attempt: Attempt) -> dict[str, Any]:
        """What extensions are told about an invocation."""
        return {
            "deadlineMs": self.deadline_ms(attempt),
            "requestId": attempt.request_id,
            "invokedFunctionArn": self.arn(attempt),
            "tracing": {"type": "X-Amzn-Trace-Id", "value": attempt.trace_id},
        }

    def arn(self, attempt: Attempt) -> str:
        """The ARN as invoked."""
        arn = self._environment.function.arn
        return f"{arn}:{attempt.qualifier}" if attempt.qualifier else arn

    def deadline_ms(self, attempt: Attempt) -> int:
        """The deadline on the wall clock that the environment sees."""
        environment = self._environment
        left = attempt.deadline - environment.now()
        return int((time.time() + environment.freezer.clock_shift + left) * 1000)

    def report(self, attempt: Attempt) -> None:
        """The invoke phase is over."""
        environment = self._environment
        environment.sandbox.drain()
        answer = attempt.answer.result() if attempt.answer.done() else None
        error = answer.error_type if answer is not None else "Sandbox.Failure"
        status = "success" if not error else "timeout" if error == "Sandbox.Timedout" else "error"
        billed = math.ceil(attempt.duration_ms + (attempt.init_ms or 0.0))
        metrics: dict[str, float] = {
            "durationMs": round(attempt.duration_ms, 2),
            "billedDurationMs": billed,
            "memorySizeMB": environment.function.memory_mb,
            "maxMemoryUsedMB": attempt.max_memory_mb,
        }
        parts = [
            f"REPORT RequestId: {attempt.request_id}",
            f"Duration: {attempt.duration_ms:.2f} ms",
            f"Billed Duration: {billed} ms",
            f"Memory Size: {environment.function.memory_mb} MB",
            f"Max Memory Used: {attempt.max_memory_mb} MB",
        ]
        if attempt.init_ms is not None:
            metrics["initDurationMs"] = round(attempt.init_ms, 2)
            parts.append(f"Init Duration: {attempt.init_ms:.2f} ms")
        if status != "success":
            parts.append(f"Status: {status}" + (f"\tError Type: {error}" if status == "error" else ""))
        record: dict[str, Any] = {"requestId": attempt.request_id, "status": status, "start": attempt.start}
        if error:
            record["errorType"] = error
        self._add("platform.runtimeDone", **record, metrics={"durationMs": round(attempt.duration_ms, 2)})
        self._platform_line(f"END RequestId: {attempt.request_id}")
        self._platform_line("\t".join(parts))
        self._add("platform.report", **record, metrics=metrics)
        text = "".join(line + "\n" for line in self._tail).encode()
        attempt.log_tail = text[-LOG_TAIL_BYTES:]

    def _platform_line(self, text: str) -> None:
        self._tail.append(text)

    def _add(self, kind: str, **record: Any) -> None:
        self._environment.journal.add(kind, self._environment.function.name, self._environment.instance, **record)
