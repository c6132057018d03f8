"""The runtimes that are measured, each installed by itself in a place of its own below the cache."""

from __future__ import annotations

import functools
import os
import shutil
from typing import TYPE_CHECKING

import attrs

from benchmarks.install import Unavailable, compiled, node_with, python_with, warmstate_in
from benchmarks.places import HANDLERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ASYNCHRONOUS",
    "BYTES",
    "COMMITTED",
    "EVERYTHING",
    "EVERY_PEER",
    "FUNCTION",
    "LAMBDA",
    "LIMIT",
    "MANAGED",
    "MEMORY",
    "NODE",
    "ORJSON",
    "OTHERS",
    "REFERENCE",
    "Peer",
    "awslambdaric",
    "warmstate",
]

LAMBDA = {
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/benchmark",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0123456789abcdef",
    "AWS_REGION": "us-east-1",
    "LAMBDA_TASK_ROOT": str(HANDLERS),
    "LANG": "en_US.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONPATH": str(HANDLERS),
    "TZ": ":UTC",
    "_HANDLER": "plain.echo",
}
"""The environment that every runtime gets."""


@attrs.frozen
class Peer:
    """A runtime with a handler."""

    name: str
    install: Callable[[], list[str]]
    """Makes sure that it is there and returns its command; raises Unavailable with the reason."""
    environment: Mapping[str, str] = attrs.field(factory=dict)
    slowness: int = 1
    """How many times fewer invocations are enough, for one that takes tens of milliseconds for each."""
    content_type: str = "application/json"

    @property
    def command(self) -> list[str]:
        """What starts it."""
        return self.install()

    def problem(self) -> str | None:
        """Why it cannot be had on this machine, or None."""
        return _problem_of(self.install)

    def variables(self) -> dict[str, str]:
        """The whole environment of its process: Lambda's, nothing of ours."""
        return {**LAMBDA, **self.environment}


@functools.cache
def _problem_of(install: Callable[[], list[str]]) -> str | None:
    """Asked once in a process: what failed to install would take as long to fail again."""
    try:
        install()
    except Unavailable as reason:
        return str(reason)
    return None


def warmstate(
    name: str,
    handler: str,
    *,
    environment: Mapping[str, str] | None = None,
    content_type: str = "application/json",
    orjson: bool = False,
) -> Peer:
    """warmstate serving one handler; the name says which."""
    return Peer(
        f"**warmstate**, {name}",
        functools.partial(_warmstate_command, *(("warmstate-orjson", "orjson") if orjson else ("warmstate",))),
        {"PYTHONPATH": "", "_HANDLER": handler, **(environment or {})},
        content_type=content_type,
    )


@functools.cache
def _warmstate_command(*where: str) -> list[str]:
    python = warmstate_in(*where)
    bootstrap = next((python.parents[1] / "lib").glob("python*/site-packages/warmstate/bootstrap"))
    return [str(bootstrap), str(python.parent / "python3")]


def awslambdaric(name: str, handler: str = "plain.echo", **environment: str) -> Peer:
    """AWS's own client for Python, serving one handler."""
    return Peer(name, functools.partial(_awslambdaric_command, handler), {"_HANDLER": handler, **environment})


@functools.cache
def _awslambdaric_command(handler: str) -> list[str]:
    return [str(python_with("awslambdaric", "awslambdaric==4.2.2")), "-m", "awslambdaric", handler]


@functools.cache
def _node_command(handler: str) -> list[str]:
    program, client = node_with("aws-lambda-ric@4.0.2", "index.mjs")
    return [program, str(client), handler]


@functools.cache
def _requests_command() -> list[str]:
    return [str(python_with("requests", "requests==2.34.2")), str(HANDLERS / "requests_loop.py")]


def _curl_command() -> list[str]:
    if not shutil.which("curl"):
        raise Unavailable("curl is not installed")
    return ["/bin/sh", str(HANDLERS / "curl_loop.sh")]


FUNCTION = warmstate("function", "plain.echo")
MEMORY = warmstate("one memory slot", "stateful.Memory")
COMMITTED = warmstate("1 kB committed for each answer", "stateful.Committed")
EVERYTHING = warmstate("a slot, a tail and a resource", "stateful.Everything")
ASYNCHRONOUS = warmstate("async handler, one memory slot", "stateful.Asynchronous")
ORJSON = warmstate("function, with orjson", "plain.echo", orjson=True)
BYTES = warmstate("function of bytes, no JSON", "plain.echo", content_type="application/octet-stream")

REFERENCE = awslambdaric("awslambdaric")
"""As it runs in a container image. Ratios are against this one, measured in the same run."""
MANAGED = awslambdaric("awslambdaric as managed", AWS_EXECUTION_ENV="AWS_Lambda_python3.12")
"""As it runs in the managed runtimes of Python 3.12 and later: a thread for each poll."""
NODE = Peer("Node aws-lambda-ric", functools.partial(_node_command, "plain.echo"))
REQUESTS = Peer("requests in a loop", _requests_command, slowness=4)
CURL = Peer("curl in a shell loop", _curl_command, {"PATH": os.environ.get("PATH", "")}, slowness=100)
LIMIT = Peer("C loop, no JSON (the limit)", lambda: [str(compiled("limit.c"))])

OTHERS = (LIMIT, REFERENCE, MANAGED, NODE, REQUESTS, CURL)
EVERY_PEER = (FUNCTION, ORJSON, *OTHERS)
"""What has an installation of its own; the others are handlers of these."""
