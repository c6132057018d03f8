"""
Counts of instructions, where times are too noisy to guard with.

valgrind counts what the runtime executes: of one warm invocation, as the difference between a long and a short life, and of a
whole short life with its start, one invocation and its end. The runtime lies in a folder of its own with Lambda's paths in its
bytecode and gets Lambda's environment, so neither the checkout nor the caller's environment moves a count. The same interpreter
gives the same counts within a few per mille, so `counts.json` keeps them for each interpreter with the reason why they were last
accepted, and a growth of more than three per cent fails.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.artefact import function_folder
from benchmarks.events import records
from benchmarks.install import Unavailable, run_quietly
from benchmarks.interpreters import find_interpreter
from benchmarks.peers import LAMBDA
from benchmarks.platform.stub import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.interpreters import Interpreter

__all__ = [
    "TOLERANCE",
    "VERSIONS",
    "accept",
    "accepted",
    "compare",
    "count",
    "executed",
    "grown_for_sure",
    "life",
    "main",
    "prepared",
]

STORED = Path(__file__).parent / "counts.json"
VERSIONS = ("3.10", "3.11", "3.13")
TOLERANCE = 0.03
SHORT, LONG = 1, 301
PATIENCE_SECONDS = 300

HANDLERS = {
    "a slot, a tail and a resource": "stateful.Everything",
    "1 kB committed": "stateful.Committed",
    "1 kB in the store, 100 writes and 100 reads": "stateful.Stored",
}


def stored() -> dict[str, dict[str, Any]]:
    """Everything that was accepted, by interpreter: when, why, and the instructions."""
    entries: dict[str, dict[str, Any]] = json.loads(STORED.read_text()) if STORED.exists() else {}
    return entries


def accepted(interpreter: Interpreter) -> dict[str, int] | None:
    """The counts that were last accepted for an interpreter, or None."""
    entry = stored().get(interpreter.build)
    return None if entry is None else entry["instructions"]


def count(interpreter: Interpreter) -> dict[str, int]:
    """
    Count this checkout on one interpreter; takes a quarter of a minute.

    Raises:
        Unavailable: There is no valgrind here.

    """
    if not shutil.which("valgrind"):
        raise Unavailable("valgrind is not installed")
    with prepared(interpreter) as folder:
        counted = {}
        for name, handler in HANDLERS.items():
            short, long = (life(folder, handler, invocations) for invocations in (SHORT, LONG))
            counted[f"start, one invocation and end, {name}"] = short
            counted[f"warm invocation, {name}"] = (long - short) // (LONG - SHORT)
        return counted


@contextmanager
def prepared(interpreter: Interpreter) -> Iterator[Path]:
    """A folder with a `function` as it lies on Lambda, and the `python` to run it with."""
    # A name of fixed length: the runtime joins and hashes paths.
    with tempfile.TemporaryDirectory(prefix="warmstate-counts-", dir="/tmp") as scratch:
        folder = Path(scratch)
        # Bare of packages: what hooks into the start of the machine's own interpreter is not ours to count.
        run_quietly(interpreter.program, "-m", "venv", "--without-pip", folder / "python")
        (folder / "function").mkdir()
        function_folder(folder / "function", interpreter.program)
        yield folder


def life(folder: Path, handler: str, invocations: int) -> int:
    """Instructions of one process from exec to its end after SIGTERM."""
    variables = {
        "LAMBDA_TASK_ROOT": str(folder / "function"),
        "PYTHONPATH": "",
        # Hashes of strings decide how dictionaries collide: with a fixed seed every run does the same.
        "PYTHONHASHSEED": "0",
        "WARMSTATE_PYTHON": str(folder / "python" / "bin" / "python"),
        "_HANDLER": handler,
    }
    options = {"invocations": invocations, "warmup": 0, "sigterm": 1, "timeout": PATIENCE_SECONDS}

    def serve(counting: list[str]) -> None:
        # Times do not matter here, so nothing spins and nothing is tied to a core that others may want.
        command = [*counting, str(folder / "function" / "bootstrap")]
        run(command, {**LAMBDA, **variables}, records(100), spin=0, stub_cpu=-1, runtime_cpu=-1, **options)

    return executed(serve)


def executed(start: Callable[[list[str]], object]) -> int:
    """Instructions of the largest process of a command that `start` runs behind the words it is given."""
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        start(
            [
                "valgrind",
                "--tool=cachegrind",
                "--cache-sim=no",
                "--trace-children=yes",
                f"--log-file={scratch}/%p.log",
                f"--cachegrind-out-file={scratch}/%p.out",
            ]
        )
        totals = [
            int(total)
            for out in Path(scratch).glob("*.out")
            for total in re.findall(r"^summary: (\d+)", out.read_text(), re.MULTILINE)
        ]
    if not totals:
        raise RuntimeError("valgrind wrote no count")
    return max(totals)


def grown_for_sure(interpreter: Interpreter, before: Mapping[str, int]) -> list[str]:
    """What grew in each of two counts: a busy machine makes runtimes wait longer, and waiting executes a little too."""
    counted = count(interpreter)
    if not compare(counted, before):
        return []
    again = count(interpreter)
    return compare({name: min(now, again[name]) for name, now in counted.items()}, before)


def compare(counted: Mapping[str, int], before: Mapping[str, int]) -> list[str]:
    """A sentence for every count that grew by more than the tolerance."""
    return [
        f"{name}: {now:,} instructions, {now / before[name] - 1:+.1%} against {before[name]:,}"
        for name, now in counted.items()
        if name in before and now > before[name] * (1 + TOLERANCE)
    ]


def accept(interpreter: Interpreter, counted: Mapping[str, int], reason: str) -> None:
    """Store the counts of today with the reason why they are as they are."""
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    entry = {"accepted": today, "reason": reason, "instructions": dict(counted)}
    STORED.write_text(json.dumps({**stored(), interpreter.build: entry}, indent=2, sort_keys=True) + "\n")


def main(*, accept_because: str | None) -> int:
    """Count on every interpreter that is here and compare, or store; the exit status is 1 when something grew."""
    grown = 0
    for version in VERSIONS:
        try:
            interpreter = find_interpreter(version)
            counted = count(interpreter)
        except Unavailable as reason:
            print(f"Python {version} not counted: {reason}")
            continue
        before = accepted(interpreter) or {}
        print(f"{interpreter.build}")
        for name, now in counted.items():
            print(
                f"{now:>14,}  {now / before[name] - 1:+6.1%}  {name}"
                if name in before
                else f"{now:>14,}     new  {name}"
            )
        if accept_because:
            accept(interpreter, counted, accept_because)
        else:
            grown += len(compare(counted, before))
    if grown:
        print(f"{grown} grew by more than {TOLERANCE:.0%}; `make counts ACCEPT='reason'` accepts that")
    return 1 if grown else 0
