"""Drives an instance as a host does, where the test kit does not reach: several invocations at once, deadlines of choice."""

from __future__ import annotations

import threading
import time

from warmstate.instance import Instance
from warmstate.lifecycle.environment import Environment
from warmstate.lifecycle.events import Init
from warmstate.wire.runtime_api import Invocation, StreamedSuccess

PATIENCE = 20.0
"""Seconds after which something that should have ended is called hanging."""


def begun(target, *, many=None, notices=None):
    """An instance after its init; `many` is the number of invocations that may come at once."""
    variables = {"AWS_LAMBDA_FUNCTION_NAME": "function"}
    if many:
        variables["AWS_LAMBDA_MAX_CONCURRENCY"] = str(many)
    instance = Instance(target, Environment.from_mapping(variables), notices=notices)
    instance.init(Init("cold"))
    return instance


def serve(instance, *, request_id="r-1", event=b"{}", thaw=None, seconds=30.0):
    """One whole invocation: its answer, with the chunks of a stream or what ended it, within `PATIENCE`."""
    served = []

    def work():
        invocation = Invocation(request_id, event, deadline_ms=int((time.time() + seconds) * 1000))
        answer = instance.invoke(invocation, thaw=thaw)
        chunks = []
        if isinstance(answer.outcome, StreamedSuccess):
            try:
                chunks.extend(answer.outcome.chunks)
            except BaseException as error:
                chunks.append(error)
        instance.finish(answer)
        served.append((answer, chunks))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(PATIENCE)
    assert served, "the invocation hangs"
    answer, chunks = served[0]
    return chunks or answer.outcome
