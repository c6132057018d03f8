"""
A function's folder as it lies on Lambda after the upload of its zip: `bootstrap`, warmstate, the handler, and their bytecode.

It is the same whatever the checkout is called and whatever is set around it: the paths inside the bytecode are Lambda's.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Literal

from benchmarks.install import bundle_in, run_quietly
from benchmarks.places import HANDLERS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Bytecode", "function_folder"]

Bytecode = Literal["unchecked-hash", "checked-hash", "timestamp", "none"]
"""How an interpreter tells that a .pyc is that of its source: not at all, by hashing the source, by its time and size."""


def function_folder(
    folder: Path, python: str | Path, bytecode: Bytecode = "unchecked-hash", *, bundle: bool = True
) -> Path:
    """Fill a folder with this checkout's runtime and the benchmarks' handlers; returns its `bootstrap`."""
    shutil.copytree(ROOT / "warmstate", folder / "warmstate", ignore=shutil.ignore_patterns("__pycache__"))
    for handler in HANDLERS.glob("*.py"):
        shutil.copy(handler, folder)
    shutil.copy(ROOT / "bootstrap", folder)
    if bytecode != "none":
        compileall = [
            python,
            "-m",
            "compileall",
            "-q",
            "-s",
            folder,
            "-p",
            "/var/task",
            "--invalidation-mode",
            bytecode,
        ]
        run_quietly(*compileall, folder)
    if bundle:
        bundle_in(folder, python)
    return folder / "bootstrap"
