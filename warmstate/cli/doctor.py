"""`warmstate doctor`: what this machine and this handler can do, each with a mark and a way to mend it."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import attrs

from warmstate.cli.finding import Finding
from warmstate.cli.functions import functions_from
from warmstate.cli.output import duration, paint, print_json, size, uses_colour
from warmstate.cli.package import package
from warmstate.cli.problem import EXIT_OK, EXIT_PROBLEM_FOUND, Problem
from warmstate.cli.settings import settle
from warmstate.project import find_handlers
from warmstate.warm.amounts import parse_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["doctor"]

SLOW_IMPORT_MS = 500.0
IMPORT_LIMIT = 60.0
"""Seconds after which an import is given up."""


def doctor(options: argparse.Namespace) -> int:
    """Run all checks."""
    findings = list(_machine())
    findings += _configuration(options)
    findings += package(os.getcwd())
    handlers = [options.handler] if options.handler else find_handlers(os.getcwd())
    for name in handlers:
        findings += _handler(name)
    marks = {"ok": ("✔", "green"), "warning": ("!", "yellow"), "problem": ("✘", "red")}
    coloured = uses_colour(sys.stdout, options.color)
    for finding in findings:
        if options.json:
            print_json({"v": 1, **attrs.asdict(finding)})
            continue
        mark, colour = marks[finding.status]
        print(f"{paint(mark, colour, enabled=coloured)} {finding.check:<14} {finding.found}")
        if finding.fix:
            print(f"  {'fix':<14} {finding.fix}")
    return EXIT_PROBLEM_FOUND if any(finding.status == "problem" for finding in findings) else EXIT_OK


def _machine() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    supported = sys.version_info >= (3, 10) and sys.implementation.name == "cpython"
    yield Finding(
        "python",
        "ok" if supported else "problem",
        f"{sys.implementation.name} {version}",
        "" if supported else "use CPython 3.10 or newer",
    )
    linux = sys.platform == "linux"
    yield Finding("system", "ok" if linux else "problem", sys.platform, "" if linux else "the emulator needs Linux")
    if importlib.util.find_spec("h11") is None:
        yield Finding("emulator", "problem", "h11 is missing", "pip install 'warmstate[emulator]'")
    elif linux:
        yield from _emulator()
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        if os.environ.get(variable):
            yield Finding("credentials", "warning", f"{variable} is set; functions here never see it", "nothing to do")
            break


def _configuration(options: argparse.Namespace) -> Iterator[Finding]:
    """Whether `dev` can read what pyproject.toml and the variables tell it."""
    from warmstate.cli.arguments import build_parser

    wanted = build_parser().parse_args(["dev"])
    wanted.config = options.config
    try:
        found = settle(wanted)
        if found.get("functions"):
            functions_from(wanted, found)
    except Problem as problem:
        yield Finding("configuration", "problem", problem.what, problem.fix or "mend what the message names")
        return
    names = ", ".join(found.get("functions", {})) or "no functions"
    said = f"[tool.warmstate] has {names}" if found else "no [tool.warmstate]"
    yield Finding("configuration", "ok", f"{said}; port {wanted.invoke_port}, reload {wanted.reload}")
    with socket.socket() as probe:
        free = probe.connect_ex(("127.0.0.1", wanted.invoke_port)) != 0
    is_free = f"{wanted.invoke_port} is {'free' if free else 'taken'}"
    yield Finding("port", "ok" if free else "warning", is_free, "" if free else "warmstate dev --port PORT")


def _emulator() -> Iterator[Finding]:
    """Start a process, freeze it, and look."""
    from warmstate.emulator import Emulator

    with Emulator() as emulator:
        reason = emulator.isolation
    own = "each environment has its own /tmp, the task root is read-only"
    shared = f"environments get a private folder instead of their own /tmp: {reason}"
    yield Finding("isolation", "ok" if reason is None else "warning", own if reason is None else shared)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as process:
        try:
            os.kill(process.pid, 19)
            stopped = _wait_for_state(process.pid, "T")
        finally:
            process.kill()
    yield Finding(
        "freeze", "ok" if stopped else "problem", "SIGSTOP stops processes" if stopped else "a process did not stop"
    )


def _wait_for_state(pid: int, letter: str) -> bool:
    for _ in range(100):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            if file.read().rpartition(")")[2].split()[0] == letter:
                return True
        time.sleep(0.01)
    return False


def _handler(name: str) -> Iterator[Finding]:
    """Import the handler in a process of its own, as the runtime would, and time it."""
    module, _, attribute = name.replace(":", ".").replace("/", ".").rpartition(".")
    if not module:
        yield Finding("handler", "problem", f"'{name}' names no handler", "write module.Class, for example app.Handler")
        return
    code = (
        "import importlib, json, os, sys, time; sys.path.insert(0, ''); begun = time.perf_counter(); "
        "found = getattr(importlib.import_module(sys.argv[1]), sys.argv[2]); "
        "ms = (time.perf_counter() - begun) * 1000; declared = getattr(found, '__warmstate__', None); "
        "slots = {name: slot.survives for name, slot in declared.slots.items()} if declared else {}; "
        "tails = {name: [tail.survives, tail.max_items, tail.max_bytes, tail.max_age] "
        "for name, tail in declared.tails.items()} if declared else {}; "
        "print(json.dumps([ms, isinstance(found, type), slots, tails]), flush=True); os._exit(0)"
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, module, attribute],
                capture_output=True,
                text=True,
                check=False,
                timeout=IMPORT_LIMIT,
                env={**os.environ, "PYTHONPYCACHEPREFIX": folder},
            )
        except subprocess.TimeoutExpired:
            fix = "do in on_init what may wait, with a limit"
            yield Finding("handler", "problem", f"{name} is not imported after {IMPORT_LIMIT:.0f} s", fix)
            return
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        ours = ('  File "<', f'  File "{importlib.__file__}"')
        places = [line.strip() for line in lines if line.startswith('  File "') and not line.startswith(ours)]
        where = f" ({places[-1].partition(', in ')[0]})" if places else ""
        yield Finding("handler", "problem", f"{name}: {lines[-1]}{where}", "mend what the message names")
        return
    milliseconds, is_class, slots, tails = json.loads(done.stdout.splitlines()[-1])
    slow = milliseconds > SLOW_IMPORT_MS
    kind = "a class" if is_class else "a function: no state slots, no hooks"
    fix = "python -X importtime shows which imports cost most" if slow else ""
    found = f"{name} is {kind}; imported in {milliseconds:.0f} ms"
    yield Finding("handler", "warning" if slow else "ok", found, fix)
    yield from _state(slots, tails)


def _state(
    slots: dict[str, str], tails: dict[str, tuple[str, int | None, int | None, float | None]]
) -> Iterator[Finding]:
    """What each declaration outlives, and what of a tail can be lost."""
    for survives, what in (("freeze", "lost with the process"), ("reset", "kept over a reset, lost with the instance")):
        names = [name for name, found in slots.items() if found == survives]
        if names:
            yield Finding("state", "ok", f"{', '.join(names)}: {what}")
    for name, (survives, items, size_, age) in tails.items():
        bounds = [f"{items - 1} items"] if items is not None else []
        bounds += [size(parse_bytes(size_))] if size_ is not None else []
        bounds += [f"what {duration(age)} bring"] if age is not None else []
        when = "an instance that ends without a word" if survives == "reset" else "a reset"
        yield Finding("state", "ok", f"{name}: {when} can lose {' or '.join(bounds)}, whichever is least")
