"""
One step of an invocation, so many times: `python -S steps.py FOLDER STEP TIMES` with the runtime in FOLDER.

Run under valgrind with one time and with many, the difference is what the step executes.
"""

from __future__ import annotations

import sys
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: {id}\r\n"
    "Lambda-Runtime-Deadline-Ms: {deadline}\r\nLambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:f"
    "\r\nLambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1\r\nContent-Length: 98"
)
"""What the platform sends, whose request ids and deadlines differ from event to event."""

REQUEST = "8476a536-e9f4-11e8-9739-"
MOST = 500
"""Events that are there; a request comes once."""


def steps(event: bytes, folder: str) -> dict[str, Callable[[], object]]:
    """What can be repeated by itself, with the runtime's own objects."""
    import os

    from warmstate.hosts.guards import Guards
    from warmstate.hosts.http11 import HeadReader
    from warmstate.instance import Instance
    from warmstate.lifecycle.environment import Environment
    from warmstate.lifecycle.events import Init
    from warmstate.lifecycle.marker import claim
    from warmstate.lifecycle.notices import Notices
    from warmstate.wire.payload import decode_event, encode_answer
    from warmstate.wire.runtime_api import parse_next

    far = 1 << 42  # milliseconds: a deadline that does not come
    heads = iter([HEAD.format(id=f"{REQUEST}{number:012}", deadline=far + number).encode() for number in range(MOST)])
    reader = HeadReader()
    environment = Environment.from_mapping(os.environ)

    def head() -> object:
        _, headers, _ = reader.read(next(heads))
        return parse_next(headers, event, now_ms=far, default_timeout=3.0)

    instances = {}
    for name in ("echo", "Memory"):
        module = __import__("plain" if name == "echo" else "stateful")
        instances[name] = Instance(getattr(module, name), environment)
        instances[name].init(Init("cold"))
    value = decode_event(event)
    claimed = claim(folder, environment=environment, notices=Notices())
    guards = Guards(Notices())

    def marker() -> None:
        claimed.write("next")
        claimed.write("invoke", f"{REQUEST}000000000000", far)

    def whole(instance: Instance) -> Callable[[], object]:
        return lambda: instance.finish(instance.invoke(head()))  # type: ignore[arg-type]

    return {
        "the answer to JSON": lambda: encode_answer(value),
        "the event from JSON": lambda: decode_event(event),
        "the head of the event, and its invocation": head,
        "all of the instance, with these three": whole(instances["echo"]),
        "the same with a memory slot": whole(instances["Memory"]),
        "what a handler left behind": guards.check,
        "the marker, written twice": marker,
    }


def main() -> None:
    """Repeat."""
    folder, step, times = sys.argv[1:]
    sys.path[0] = f"{folder}/function"
    work = steps(Path(folder, "event").read_bytes(), folder)
    if step == "list":
        print("\n".join(work))
        return
    for _ in range(int(times)):
        work[step]()


if __name__ == "__main__":
    main()
