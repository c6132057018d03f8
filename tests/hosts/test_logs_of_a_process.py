"""The log of a real process: what reaches it, in which form, and that no handler can keep a line from it."""

from __future__ import annotations

import json
import os
import struct

import pytest

from tests.hosts.pipe import Pipe
from tests.hosts.scripted import wait_for

HANDLER = """
import os, sys
print("loaded", "logging" in sys.modules)

def handler(event, context):
    if event.get("log"):
        import logging
        logging.getLogger("mine").warning("inside %s", context.aws_request_id)
        import threading
        thread = threading.Thread(target=logging.getLogger("mine").error, args=("beside",))
        thread.start()
        thread.join()
    if event.get("break"):
        os.closerange(0, 3)
        sys.stdout = None
        if "logging" in sys.modules:
            sys.modules["logging"].shutdown()
        raise ValueError("still told")
    return "logging" in sys.modules
"""


@pytest.mark.process
def test_logging_is_imported_by_the_user_alone_and_followed_from_then_on(api, start):
    """The runtime never imports it; when the handler does, in an invocation, its first record comes out right."""
    runtime = start(HANDLER)
    before, after = api.ask("r-1", {}).json, api.ask("r-2", {"log": True}).json
    api.wait_until_idle()
    runtime.signal(9)
    runtime.ended()

    assert [False, True] == [before, after]
    assert "loaded False\n" in runtime.output
    assert "\tr-2\tinside r-2\n" in runtime.output
    assert "\t\tbeside\n" in runtime.output, "a thread belongs to no request"
    assert 1 == runtime.output.count("inside")


@pytest.mark.process
def test_json_lines_of_a_process(api, start):
    """Every line that the process writes for a request is JSON and names that request alone."""
    runtime = start(HANDLER, AWS_LAMBDA_LOG_FORMAT="JSON")
    api.ask("r-1", {"log": True})
    assert api.ask("r-2", {"break": True}).kind == "error"
    runtime.signal(9)
    runtime.ended()
    lines = [json.loads(line) for line in runtime.output.splitlines() if line.startswith("{")]
    by_request = {line["requestId"]: line for line in lines}

    assert ["inside r-1", "still told"] == [by_request["r-1"]["message"], by_request["r-2"]["errorMessage"]]
    assert ["cold", "warm"] == [by_request[name]["warmstate"]["kind"] for name in ("r-1", "r-2")]


@pytest.mark.process
def test_the_log_outlives_what_a_handler_does_to_it(api, start):
    """With stdout closed, replaced and `logging` shut down, the failure is still reported, and so is the next one."""
    runtime = start(HANDLER)
    for request_id in ("r-1", "r-2"):
        assert api.ask(request_id, {"log": request_id == "r-1", "break": True}).json["errorMessage"] == "still told"
    runtime.signal(9)
    runtime.ended()

    assert 2 == runtime.output.count("[ERROR] ValueError: still told\rTraceback")


PRINTS = """
import sys

print("init", end="")

def handler(event, context):
    print(" out", end="")
    sys.stderr.write(" err")
    context.log(" log")
"""


@pytest.mark.process
@pytest.mark.parametrize("concurrency", [None, "2"])
def test_what_is_printed_without_a_line_end_is_not_kept_for_the_next_request(api, start, concurrency):
    """It is written by the time the next event is asked for: a freeze, or an end without notice, may follow."""
    runtime = start(PRINTS, **({} if concurrency is None else {"AWS_LAMBDA_MAX_CONCURRENCY": concurrency}))
    api.wait_until_idle()
    wait_for(lambda: runtime.output == "init")
    api.ask("r-1")
    wait_for(lambda: sorted(runtime.output.split()) == ["err", "init", "log", "out"])


@pytest.mark.process
def test_frames_of_a_process(api, start):
    """Records and reports go to the platform's descriptor, prints to stdout."""
    pipe = Pipe()
    os.set_inheritable(pipe.write, True)
    runtime = start(HANDLER, inherit=(pipe.write,), _LAMBDA_TELEMETRY_LOG_FD=str(pipe.write))
    api.ask("r-1", {"log": True})
    runtime.signal(9)
    runtime.ended()
    data = pipe.bytes
    kind, length, _ = struct.unpack(">IIQ", data[:16])

    assert 0xA55A0013 == kind
    assert data[16 : 16 + length].endswith(b"\tr-1\tinside r-1")
    assert "loaded" in runtime.output
    assert "inside" not in runtime.output
