"""
Measures warmstate against its peers and writes the tables that the documents show.

    python -m benchmarks                        every question
    python -m benchmarks warm-cycle cold-start  these
    python -m benchmarks --quick summary        one short round, printed and not written
    python -m benchmarks counts                 instructions against the stored counts; fails when they grew
"""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks import counts
from benchmarks.machine import describe
from benchmarks.measure import Settings
from benchmarks.platform.stub import platform_command
from benchmarks.tables import write

# In the order of docs/benchmarks.md; `benchmarks/questions/` has a module for each.
QUESTIONS = ("summary", "warm-cycle", "cold-start", "memory", "thaw", "shutdown", "state")
QUICK = Settings(rounds=1, scale=0.2)


def main() -> int:
    """Ask the questions named on the command line; the exit status is that of the counts, or 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure warmstate against its peers.")
    parser.add_argument(
        "questions",
        nargs="*",
        metavar="QUESTION",
        help=f"{', '.join(QUESTIONS)}, counts; all but counts when none is named",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each peer takes its turn (default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round, printed and not written into the documents"
    )
    parser.add_argument(
        "--accept", metavar="REASON", help="counts: store the counts of today, with the reason why they changed"
    )
    options = parser.parse_args()
    unknown = set(options.questions) - {*QUESTIONS, "counts"}
    if unknown:
        parser.error(f"no such question: {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)} and counts")
    if "counts" in options.questions:
        return counts.main(accept_because=options.accept)
    settings = QUICK if options.quick else Settings(rounds=options.rounds)
    for question in options.questions or QUESTIONS:
        answer(question, settings, written=not options.quick)
    return 0


def answer(question: str, settings: Settings, *, written: bool) -> None:
    """Measure one question and show its tables, in the documents unless it was a quick one."""
    _, platform = platform_command()
    machine = f"Measured on {describe()} {settings.rounds} round{'s' if settings.rounds > 1 else ''}, {platform}."
    tables = importlib.import_module(f"benchmarks.questions.{question.replace('-', '_')}").ask(settings)
    text = "\n\n".join([*(table.markdown() for table in tables), machine])
    print(f"\n{text}\n", flush=True)
    if written:
        write(f"benchmark: {question}", text, "docs/benchmarks.md")
        if question == "summary":
            write("benchmarks", text, "README.md")


if __name__ == "__main__":
    sys.exit(main())
