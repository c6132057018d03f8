"""
The runtimes that are measured, each installed by itself in a place of its own below the cache.

All Python ones run on the interpreter that runs the benchmark, from a virtual environment that holds them and what they
need, nothing else. Versions are pinned: a table compares with a named thing.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import attrs

from benchmarks.install import Unavailable, compiled, node_with, python_with, warmstate_in
from benchmarks.places import HANDLERS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ASYNCHRONOUS",
    "COMMITTED_SLOT",
    "EVERYTHING",
    "FUNCTION",
    "MEMORY_SLOT",
    "PEERS",
    "REFERENCE",
    "Peer",
    "awslambdaric",
    "awslambdaric_managed",
    "limit",
    "warmstate",
]


@attrs.frozen
class Peer:
    """A runtime, ready to start."""

    name: str
    command: list[str]
    environment: dict[str, str] = attrs.field(factory=dict)
    slowness: int = 1
    """How many times fewer invocations are enough, for one that takes tens of milliseconds for each."""

    def variables(self) -> dict[str, str]:
        """The whole environment of its process: Lambda's, nothing of ours."""
        lambda_variables = {
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
        return {**lambda_variables, **self.environment}


def warmstate(name: str, handler: str, **environment: str) -> Callable[[], Peer]:
    """A maker of warmstate serving one handler; the name says which."""

    def make() -> Peer:
        python = warmstate_in("warmstate")
        bootstrap = next((python.parents[1] / "lib").glob("python*/site-packages/warmstate/bootstrap"))
        path = f"{python.parent}:/usr/local/bin:/usr/bin:/bin"
        return Peer(name, [str(bootstrap)], {"PATH": path, "_HANDLER": handler, "PYTHONPATH": "", **environment})

    return make


def awslambdaric() -> Peer:
    """AWS's own client, as it runs in a container image."""
    python = python_with("awslambdaric", "awslambdaric==4.2.2")
    return Peer("awslambdaric", [str(python), "-m", "awslambdaric", "plain.echo"])


def awslambdaric_managed() -> Peer:
    """The same as it runs in the managed runtimes of Python 3.12 and later: a thread for each poll."""
    python = python_with("awslambdaric", "awslambdaric==4.2.2")
    return Peer(
        "awslambdaric as managed",
        [str(python), "-m", "awslambdaric", "plain.echo"],
        {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"},
    )


def node() -> Peer:
    """AWS's client for Node.js."""
    program, client = node_with("aws-lambda-ric@4.0.2", "index.mjs")
    return Peer("Node aws-lambda-ric", [program, str(client), "plain.echo"])


def requests_loop() -> Peer:
    """A naive loop over a Session of requests."""
    python = python_with("requests", "requests==2.34.2")
    return Peer("requests in a loop", [str(python), str(HANDLERS / "requests_loop.py")], slowness=4)


def curl_loop() -> Peer:
    """The shell loop of the documentation's tutorial."""
    if not shutil.which("curl"):
        raise Unavailable("curl is not installed")
    return Peer(
        "curl in a shell loop", ["/bin/sh", str(HANDLERS / "curl_loop.sh")], {"PATH": os.environ["PATH"]}, slowness=100
    )


def limit() -> Peer:
    """A loop in C that copies bytes: what the sockets alone cost."""
    return Peer("C loop, no JSON (the limit)", [str(compiled("limit.c"))])


REFERENCE = "awslambdaric"
"""Ratios are against this one, measured in the same round."""

PEERS: list[Callable[[], Peer]] = [limit, awslambdaric, awslambdaric_managed, node, requests_loop, curl_loop]

FUNCTION = warmstate("**warmstate**, function", "plain.echo")
MEMORY_SLOT = warmstate("**warmstate**, one memory slot", "stateful.Memory")
COMMITTED_SLOT = warmstate("**warmstate**, 1 kB committed for each answer", "stateful.Committed")
ASYNCHRONOUS = warmstate("**warmstate**, async handler", "stateful.Asynchronous")
EVERYTHING = warmstate("**warmstate**, a slot, a tail and a resource", "stateful.Everything")
