"""One handler fault against a real runtime process."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance.handlers import source_of
from tests.hosts.scripted import Runtime, ScriptedApi, wait_for

if TYPE_CHECKING:
    from tests.conformance.handler_faults import HandlerFault

__all__ = ["problem_with"]

GOOD = 2  # how many events must be answered after the fault
QUICK = 1.5  # seconds until the deadline of the faulty event


def problem_with(fault: HandlerFault, transport: str) -> str | None:
    """What went wrong, or None when the runtime survived `fault` as it must."""
    with tempfile.TemporaryDirectory() as folder, ScriptedApi() as api:
        place = Path(folder)
        (place / "tmp").mkdir()
        (place / "app.py").write_text(source_of(fault.code, fault.probe))

        def runtime():
            return Runtime(
                api, "app.handler", place, tmp=place / "tmp", WARMSTATE_TRANSPORT=transport, **fault.variables
            )

        try:
            with runtime() as process:
                if fault.restarts:
                    return _recovered(api, process, runtime)
                problem = _survived(api, process, fault)
                return problem and f"{problem}; output: {process.output[-600:]!r}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def _survived(api, process, fault) -> str | None:
    before = api.ask("before", {"fault": False, "n": 0}).json
    answer = api.ask("faulty", {"fault": True}, seconds=QUICK)
    if fault.answer not in {"any", answer.kind}:
        return f"the fault was answered with {answer.kind}: {answer.body[:200]!r}"
    if answer.kind == "error":
        kind = answer.json["errorType"]
        if fault.error_type not in {None, kind}:
            return f"the error's type is {kind}, not {fault.error_type}"
    for number in range(GOOD):
        good = api.ask(f"good-{number}", {"fault": False, "n": number})
        if good.kind != "response":
            return f"a good event after it was answered with {good.body[:300]!r}"
        said = good.json
        if (said["id"], said["n"]) != (f"good-{number}", number):
            return f"a good event got the answer of another: {said}"
        if said["pid"] != before["pid"]:
            return "another process answered"
        if number and not said["probe"]:
            return f"it leaked: not {fault.probe}"
    if not api.posted.empty():
        return f"an answer too many: {api.posted.get().body[:200]!r}"
    if process.process.poll() is not None:
        return f"the process ended with {process.process.poll()}"
    return None


def _recovered(api, process, runtime) -> str | None:
    api.send("faulty", {"fault": True})
    process.ended()
    if not api.posted.empty():
        return "a dead process answered"
    with runtime() as again:
        api.send("good", {"fault": False, "n": 1})
        answer = api.answer()
        if (answer.request_id, answer.kind) != ("good", "response"):
            return f"the next process answered {answer.body[:200]!r}"
        wait_for(lambda: api.waiting)
        return None if json.loads(answer.body)["pid"] == again.pid != os.getpid() else "somebody else answered"
