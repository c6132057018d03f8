"""Other Pythons of this machine, found by their version: on the PATH or among pyenv's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import attrs

from benchmarks.install import Unavailable, run_quietly

__all__ = ["Interpreter", "find_interpreter"]

WHO_ARE_YOU = """
import json, os, platform, sys
name = "python%d.%d" % sys.version_info[:2]
program = os.path.join(sys.base_prefix, "bin", name)
if not os.path.exists(program):
    program = sys.executable
build = "%s %s, %s, %s" % (
    platform.python_implementation(), platform.python_version(), platform.python_compiler(), platform.machine()
)
print(json.dumps({"program": os.path.realpath(program), "build": build, "version": "%d.%d" % sys.version_info[:2]}))
"""


@attrs.frozen
class Interpreter:
    """A Python outside of any virtual environment."""

    program: Path
    build: str
    """What counts are stored under: another build of the same version executes other instructions."""


def find_interpreter(version: str) -> Interpreter:
    """
    The first interpreter of a version like `3.11`.

    Raises:
        Unavailable: There is none.

    """
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    for candidate in (shutil.which(name), *sorted(pyenv.glob(f"{version}.*/bin/{name}"), reverse=True)):
        if candidate is None:
            continue
        try:
            answer = json.loads(run_quietly(candidate, "-c", WHO_ARE_YOU))
        except (Unavailable, ValueError):
            continue  # a shim of pyenv for a version that is not chosen, or a broken one
        if answer["version"] == version:
            return Interpreter(Path(answer["program"]), answer["build"])
    raise Unavailable(f"there is no Python {version} on this machine")
