"""The platform's own words about an environment: START, END and REPORT lines, and their events in the journal."""

from __future__ import annotations

import asyncio
import collections
import math
import time
from typing import TYPE_CHECKING, Any, Final

from warmstate.wire.invoke_api import LOG_TAIL_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from warmstate.emulator.attempt import Attempt
    from warmstate.emulator.function import Function, InitializationType
    from warmstate.emulator.journal import Journal
    from warmstate.emulator.life import InitResult, Phase
    from warmstate.emulator.processes.freezer import Freezer
    from warmstate.emulator.processes.sandbox import Sandbox

__all__ = ["Reporter"]

TAIL_LINES: Final = 2_000


class Reporter:
    """Writes what Lambda writes to a function's log, with figures that are true of this machine."""

    def __init__(
        self,
        function: Function,
        instance: str,
        kind: InitializationType,
        journal: Journal,
        sandbox: Sandbox,
        freezer: Freezer,
    ) -> None:
        self._function = function
        self._instance = instance
        self._kind = kind
        self._journal = journal
        self._sandbox = sandbox
        self._freezer = freezer
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._init_ms: float | None = None
        """Of an init that was not part of an invocation, for the first REPORT."""

    def line(self, source: str, text: str, request_id: str) -> None:
        """A process wrote a line."""
        self._tail.append(text)
        self._add("function" if source == "runtime" else "extension", line=text, requestId=request_id, source=source)

    def init_start(self, phase: Phase, generation: int) -> None:
        """Processes are about to start."""
        if phase != "invoke":
            self._platform_line(f"INIT_START Runtime Version: warmstate\tGeneration: {generation}")
        self._add("platform.initStart", initializationType=self._kind, phase=phase, generation=generation)

    def init_done(self, phase: Phase, result: InitResult) -> None:
        """Init ended, one way or the other."""
        record = self._outcome(result) | {"initializationType": self._kind, "phase": phase}
        self._add("platform.initRuntimeDone", **record)
        metrics = {"durationMs": round(result.ms, 2)}
        self._add("platform.initReport", **record, metrics=metrics, pid=self._sandbox.pid)
        if result.status != "success":
            self._platform_line(f"INIT_REPORT Init Duration: {result.ms:.2f} ms\tPhase: {phase}\t{_status(record)}")
        elif phase == "init":
            self._init_ms = result.ms

    def restore_start(self) -> None:
        """A process is about to continue from its snapshot."""
        self._platform_line(f"RESTORE_START Runtime Version: warmstate\tInstance: {self._instance}")
        self._add("platform.restoreStart")

    def restored(self, result: InitResult) -> None:
        """A restore ended, one way or the other."""
        record = self._outcome(result)
        status = "" if result.status == "success" else f"\t{_status(record)}"
        self._platform_line(f"RESTORE_REPORT Restore Duration: {result.ms:.2f} ms{status}")
        self._add("platform.restoreRuntimeDone", **record)
        self._add("platform.restoreReport", **record, metrics={"durationMs": round(result.ms, 2)})

    @staticmethod
    def _outcome(result: InitResult) -> dict[str, Any]:
        failed = result.answer is not None and result.answer.error_type
        return {"status": result.status, **({"errorType": failed} if failed else {})}

    def start(self, attempt: Attempt) -> None:
        """An invocation begins."""
        self._tail.clear()
        attempt.init_ms, self._init_ms = self._init_ms, None
        self._platform_line(f"START RequestId: {attempt.request_id} Version: {self._function.version}")
        self._add(
            "platform.start",
            requestId=attempt.request_id,
            version=self._function.version,
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
        arn = self._function.arn
        return f"{arn}:{attempt.qualifier}" if attempt.qualifier else arn

    def deadline_ms(self, attempt: Attempt) -> int:
        """The deadline on the wall clock that the environment sees."""
        left = attempt.deadline - asyncio.get_running_loop().time()
        return int((time.time() + self._freezer.clock_shift + left) * 1000)

    def report(self, attempt: Attempt) -> None:
        """The invoke phase is over."""
        self._sandbox.drain()
        answer = attempt.answer.result() if attempt.answer.done() else None
        error = attempt.failure or (answer.error_type if answer is not None else "Sandbox.Failure")
        record: dict[str, Any] = {
            "requestId": attempt.request_id,
            "status": "success" if not error else "timeout" if error == "Sandbox.Timedout" else "error",
            "start": attempt.start,
        }
        if error:
            record["errorType"] = error
        metrics: dict[str, float] = {
            "durationMs": round(attempt.duration_ms, 2),
            "billedDurationMs": attempt.billed_ms,
            "memorySizeMB": self._function.memory_mb,
            "maxMemoryUsedMB": attempt.max_memory_mb,
        }
        parts = [
            f"REPORT RequestId: {attempt.request_id}",
            f"Duration: {attempt.duration_ms:.2f} ms",
            f"Billed Duration: {attempt.billed_ms} ms",
            f"Memory Size: {self._function.memory_mb} MB",
            f"Max Memory Used: {attempt.max_memory_mb} MB",
        ]
        if attempt.init_ms is not None:
            metrics["initDurationMs"] = round(attempt.init_ms, 2)
            parts.append(f"Init Duration: {attempt.init_ms:.2f} ms")
        if attempt.restore_ms is not None:
            metrics["restoreDurationMs"] = round(attempt.restore_ms, 2)
            billed = math.ceil(attempt.restore_ms)
            parts.append(f"Restore Duration: {attempt.restore_ms:.2f} ms\tBilled Restore Duration: {billed} ms")
        if error:
            parts.append(_status(record))
        self._add("platform.runtimeDone", **record, metrics={"durationMs": metrics["durationMs"]})
        self._platform_line(f"END RequestId: {attempt.request_id}")
        self._platform_line("\t".join(parts))
        self._add("platform.report", **record, metrics=metrics)
        attempt.log_tail = self._end_of_log()

    def _end_of_log(self) -> bytes:
        """The last 4 KB."""
        pieces, size = list[bytes](), 0
        for line in reversed(self._tail):
            pieces.append(line.encode()[-LOG_TAIL_BYTES:] + b"\n")
            size += len(pieces[-1])
            if size >= LOG_TAIL_BYTES:
                break
        return b"".join(reversed(pieces))[-LOG_TAIL_BYTES:]

    def _platform_line(self, text: str) -> None:
        self._tail.append(text)

    def _add(self, kind: str, **record: Any) -> None:
        self._journal.add(kind, self._function.name, self._instance, **record)


def _status(record: Mapping[str, Any]) -> str:
    """The last part of a line about what did not succeed."""
    error = f"\tError Type: {record['errorType']}" if record["status"] == "error" else ""
    return f"Status: {record['status']}{error}"
