"""What a caller is told when the platform, not the function, ended an invocation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from warmstate.emulator.attempt import Answer, error_payload
from warmstate.wire.invoke_api import ApiError

if TYPE_CHECKING:
    from warmstate.emulator.life import InitResult
    from warmstate.emulator.processes.sandbox import Sandbox

__all__ = ["exit_answer", "message_of", "restore_refusal", "timeout_payload"]


def exit_answer(sandbox: Sandbox, request_id: str, *, out_of_memory: bool) -> Answer:
    """The end of a process that nobody asked to end."""
    prefix = f"RequestId: {request_id} Error: " if request_id else ""
    extension = sandbox.failed_extension
    if out_of_memory:
        ended = "Runtime exited with error: signal: killed"
    elif extension is not None:
        kind = "Extension.Crash"
        return Answer(error_payload(kind, f"{prefix}extension {extension} ended: {kind}"), error_type=kind)
    else:
        code = sandbox.runtime_exit
        bare = code is None or (code.code == 0 and code.signal == 0)
        ended = "Runtime exited without providing a reason" if bare else f"Runtime exited with error: {code}"
    return Answer(error_payload("Runtime.ExitError", prefix + ended), error_type="Runtime.ExitError")


def timeout_payload(request_id: str, seconds: float) -> bytes:
    """An invocation that ran over its time."""
    message = f"RequestId: {request_id} Error: Task timed out after {seconds:.2f} seconds"
    return error_payload("Sandbox.Timedout", message)


def restore_refusal(result: InitResult) -> ApiError:
    """What the service answers, instead of a function's error, when a snapshot could not be restored."""
    if result.status == "timeout":
        message = "Lambda couldn't restore the snapshot within the timeout limit."
        return ApiError(408, "SnapStartTimeoutException", message)
    why = "" if result.answer is None else f" {message_of(result.answer.payload)}"
    return ApiError(400, "SnapStartException", f"The afterRestore() runtime hook encountered an error.{why}")


def message_of(payload: bytes) -> str:
    """An error object as one line for people."""
    try:
        error = json.loads(payload)
        return f"{error['errorType']}: {error['errorMessage']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return payload.decode("utf-8", "replace")[:500]
