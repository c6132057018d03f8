"""AWS's own Python client, awslambdaric, as a process in front of a scripted Runtime API."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import pytest

from benchmarks.install import Unavailable, python_with
from tests.hosts.scripted import Runtime

if TYPE_CHECKING:
    from pathlib import Path

MANAGED = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"}
"""What makes the client behave as on the managed runtimes of Python 3.12 and later."""


@functools.cache
def stock_python() -> Path:
    """An interpreter with AWS's client, of the same version of Python that runs the tests; skips where it cannot be had."""
    try:
        return python_with("awslambdaric", "awslambdaric==4.2.2")
    except Unavailable as reason:
        pytest.skip(str(reason))


def stock_runtime(api, handler, task_root, *, tmp, path=(), **variables) -> Runtime:
    """Start AWS's client with `handler`, and the folders of `path` to import from."""
    command = (stock_python(), "-m", "awslambdaric", handler)
    # As the managed runtime does, which has the function first on its path and the layers behind.
    places = os.pathsep.join(map(str, (task_root, *path)))
    return Runtime(api, handler, task_root, tmp=tmp, command=command, PYTHONPATH=places, **variables)
