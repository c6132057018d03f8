"""
Counts of instructions, where times are too noisy to guard with.

callgrind counts what the runtime executes: of one warm invocation, as the difference between a long and a short life, and of a
whole short life with its start, one invocation and its end. The same interpreter gives the same counts within a fraction of a
per cent, so `counts.json` keeps them for each interpreter with the reason why they were last accepted, and a growth of more than
three per cent fails.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.events import records
from benchmarks.peers import EVERYTHING, FUNCTION, MEMORY_SLOT, Unavailable
from benchmarks.platform.stub import run

if TYPE_CHECKING:
    from benchmarks.peers import Peer

__all__ = ["TOLERANCE", "accept", "accepted", "compare", "count", "grown_for_sure", "interpreter", "main", "stored"]

STORED = Path(__file__).parent / "counts.json"
TOLERANCE = 0.03
SHORT, LONG = 1, 1001

# Time does not matter here: no core is claimed for the platform or the runtime, and the platform sleeps.
ANYWHERE = {"stub_cpu": -1, "runtime_cpu": -1, "spin": 0}


def interpreter() -> str:
    """The name under which counts are stored: another build of the same version executes other instructions."""
    return f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}, {platform.machine()}"


def stored() -> dict[str, dict[str, Any]]:
    """Everything that was accepted, by interpreter: when, why, and the instructions."""
    entries: dict[str, dict[str, Any]] = json.loads(STORED.read_text()) if STORED.exists() else {}
    return entries


def accepted() -> dict[str, int] | None:
    """The counts that were last accepted for this interpreter, or None."""
    entry = stored().get(interpreter())
    return None if entry is None else entry["instructions"]


def count() -> dict[str, int]:
    """
    Count this checkout on this interpreter; takes about a minute.

    Raises:
        Unavailable: There is no valgrind here.

    """
    if not shutil.which("valgrind"):
        raise Unavailable("valgrind is not installed")
    function, memory_slot, everything = FUNCTION(), MEMORY_SLOT(), EVERYTHING()
    return {
        "warm invocation, function": warm(function),
        "warm invocation, one memory slot": warm(memory_slot),
        "start, one invocation and end, a slot, a tail and a resource": life(everything, SHORT),
    }


def grown_for_sure(before: dict[str, int]) -> list[str]:
    """What grew in each of two counts: a busy machine makes runtimes wait longer, and waiting executes a little too."""
    counted = count()
    if not compare(counted, before):
        return []
    again = count()
    return compare({name: min(now, again[name]) for name, now in counted.items()}, before)


def warm(peer: Peer) -> int:
    """Instructions of one warm invocation."""
    return (life(peer, LONG) - life(peer, SHORT)) // (LONG - SHORT)


def life(peer: Peer, invocations: int) -> int:
    """Instructions of one process from exec to its end after SIGTERM."""
    with tempfile.TemporaryDirectory() as scratch:
        counting = [
            "valgrind",
            "--tool=callgrind",
            "--trace-children=yes",
            f"--log-file={scratch}/%p.log",
            f"--callgrind-out-file={scratch}/%p.out",
        ]
        # Hashes of strings decide how dictionaries collide: with a fixed seed every run does the same.
        variables = {**peer.variables(), "PYTHONHASHSEED": "0"}
        run(
            [*counting, *peer.command],
            variables,
            records(100),
            invocations=invocations,
            warmup=0,
            sigterm=1,
            timeout=300,
            **ANYWHERE,
        )
        totals = [
            int(total)
            for out in Path(scratch).glob("*.out")
            for total in re.findall(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)
        ]
    if not totals:
        raise RuntimeError(f"callgrind wrote no count for {peer.name}")
    return max(totals)


def compare(counted: dict[str, int], before: dict[str, int]) -> list[str]:
    """A sentence for every count that grew by more than the tolerance."""
    return [
        f"{name}: {now:,} instructions, {now / before[name] - 1:+.1%} against {before[name]:,}"
        for name, now in counted.items()
        if name in before and now > before[name] * (1 + TOLERANCE)
    ]


def accept(counted: dict[str, int], reason: str) -> None:
    """Store the counts of today with the reason why they are as they are."""
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    entries = {**stored(), interpreter(): {"accepted": today, "reason": reason, "instructions": counted}}
    STORED.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")


def main(*, accept_because: str | None) -> int:
    """Count and compare, or count and store; the exit status is 1 when something grew."""
    try:
        counted = count()
    except Unavailable as reason:
        print(f"not counted: {reason}")
        return 0
    for name, now in counted.items():
        print(f"{now:>14,}  {name}")
    if accept_because:
        accept(counted, accept_because)
        print(f"stored for {interpreter()}")
        return 0
    before = accepted()
    if before is None:
        print(
            f"nothing to compare with: no counts are stored for {interpreter()}; `make counts ACCEPT='reason'` stores these"
        )
        return 0
    grown = compare(counted, before)
    print("\n".join(grown) if grown else f"none grew by more than {TOLERANCE:.0%}")
    return 1 if grown else 0
