"""One protocol fault against a real runtime process."""

from __future__ import annotations

import queue
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts.scripted import PATIENCE, Runtime, ScriptedApi

if TYPE_CHECKING:
    from tests.conformance.protocol_faults import ProtocolFault

__all__ = ["problem_with"]

HANDLER = """
import os
def handler(event, context):
    if event.get("stream"):
        return (b"x" for _ in range(event["size"]))
    return {"pid": os.getpid(), "id": context.aws_request_id, "x": "x" * event["size"]}
"""
MOST_ASKED = 25  # calls of next in any second: more is spinning


def problem_with(fault: ProtocolFault, transport: str) -> str | None:
    """What went wrong, or None when the runtime took `fault` as it must."""
    with tempfile.TemporaryDirectory() as folder, ScriptedApi() as api:
        place = Path(folder)
        (place / "tmp").mkdir()
        (place / "app.py").write_text(HANDLER)
        with Runtime(api, "app.handler", place, tmp=place / "tmp", WARMSTATE_TRANSPORT=transport) as process:
            try:
                problem = _took(api, process, fault)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            return problem and f"{problem}; output: {process.output[-600:]!r}"


def _took(api, process, fault) -> str | None:
    before = api.ask("before", b'{"size": 0}').json["pid"]
    for reply in fault.replies:
        api.replies.put(reply)
    for _ in range(fault.repeat):
        api.events.put(fault.next_)
    if fault.outcome != "ended":
        api.send("good", b'{"size": 1}')
    seen = _answers(api, process)
    if (spins := _spinning(api)) > MOST_ASKED:
        return f"next was asked {spins} times in a second"
    status = process.process.poll()
    if status is not None and status < 0:
        return f"it died of signal {-status}"
    if fault.outcome == "ended":
        return None if status else f"it did not end with an error: {status}"
    if status is not None:
        return f"it ended with {status}"
    if [("good", "response")] != seen[-1:]:
        return f"the next event was not answered: {seen}"
    if seen.count(("good", "response")) != 1 or before != api.good["pid"]:
        return "it was answered by another process, or twice"
    faulty = seen[:-1]
    expected = {
        "answered": [("faulty", "response")] * fault.repeat,
        "refused": [("faulty", "error")] * fault.repeat,
        "skipped": [],
    }.get(fault.outcome, faulty)
    if faulty != expected:
        return f"it led to {faulty}, not to {expected}"
    if fault.error_type is not None and fault.error_type != api.refused_as:
        return f"the error's type is {api.refused_as}, not {fault.error_type}"
    return None


def _answers(api, process):
    """What was posted, up to the answer to the good event or to the end of the process."""
    seen = []
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            posted = api.posted.get(timeout=0.05)
        except queue.Empty:
            if process.process.poll() is not None and api.posted.empty():
                break
            continue
        seen.append((posted.request_id, posted.kind))
        if posted.kind == "error":
            api.refused_as = posted.json["errorType"]
        if seen[-1][0] == "good":
            api.good = posted.json
            break
    return seen


def _spinning(api):
    asked = [at for at, _, path in api.calls if path.endswith("/next") and "extension" not in path]
    return max((sum(1 for other in asked if at <= other < at + 1.0) for at in asked), default=0)
