"""
Puts what is measured into places of its own below the cache, once: virtual environments, packages of npm, compiled programs.

All versions are pinned: a table compares with a named thing.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.places import CACHE, PLATFORM, ROOT
from scripts.peer_programs import Unavailable

__all__ = [
    "Unavailable",
    "bundle_in",
    "compiled",
    "node_with",
    "plain_environment",
    "python_with",
    "run_quietly",
    "warmstate_in",
]

PATIENCE_SECONDS = 1200
"""For one installation: Node's client compiles curl."""


def run_quietly(*command: str | Path, cwd: Path | None = None) -> str:
    """
    Run a program to its end and return what it printed.

    Raises:
        Unavailable: It failed; the reason is the last it said.

    """
    name = " ".join(map(str, command[:3]))
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
            env=plain_environment(),
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{name} ...: no end after {PATIENCE_SECONDS} seconds") from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise Unavailable(f"{name} ...: {words[-1]}")
    return done.stdout


def plain_environment() -> dict[str, str]:
    """This environment without what changes how Python starts or whether it writes bytecode."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name not in {"VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    }


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of a virtual environment that holds these requirements, made once."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    folder = CACHE / f"{name}-python{version}"
    installed = folder / "installed"
    wanted = "\n".join(requirements)
    if not installed.exists() or installed.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        run_quietly(sys.executable, "-m", "venv", folder)
        run_quietly(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements)
        installed.write_text(wanted)
    return folder / "bin" / "python"


@functools.cache
def warmstate_in(name: str, *extra: str) -> Path:
    """The interpreter of an environment that holds warmstate as it is in this checkout, built and installed as a user does."""
    constraints = f"--constraint={ROOT / 'constraints.txt'}"
    python = python_with(name, constraints, "attrs", "diskcache", "requests", "hatchling", *extra)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--force-reinstall")
    run_quietly(python, "-m", "pip", "install", *options, ROOT)
    # Not from this checkout, where Python would find the package that lies here.
    run_quietly(python, "-m", "warmstate.hosts.bundling", cwd=python.parent)
    return python


def bundle_in(folder: Path, python: str | Path) -> None:
    """Write the bundle of the runtime that lies in this folder, as deploying it does."""
    run_quietly(python, "-m", "warmstate.hosts.bundling", "--unchecked", cwd=folder)


def node_with(package: str, entry: str) -> tuple[str, Path]:
    """The path of node, and of a file of a package that npm has put below the cache."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        raise Unavailable("node and npm are not installed")
    folder = CACHE / "node"
    program = folder / "node_modules" / package.rpartition("@")[0] / entry
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run_quietly(npm, "install", "--no-audit", "--no-fund", "--prefix", folder, package, cwd=folder)
    return node, program


@functools.cache
def compiled(source: str) -> Path:
    """
    A C file of the platform's folder as a program, compiled again only when the file is newer.

    Raises:
        Unavailable: There is no compiler here.

    """
    program = CACHE / "build" / Path(source).stem
    if program.exists() and program.stat().st_mtime >= (PLATFORM / source).stat().st_mtime:
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise Unavailable("no C compiler was found")
    program.parent.mkdir(parents=True, exist_ok=True)
    unfinished = program.with_suffix(f".{os.getpid()}")
    run_quietly(compiler, "-O2", "-o", unfinished, PLATFORM / source)
    unfinished.replace(program)
    return program
