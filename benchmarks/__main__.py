"""
Measures warmstate against its peers and writes the tables that the documents show.

    python -m benchmarks                        every question, three runs
    python -m benchmarks warm-cycle cold-start  these
    python -m benchmarks --quick cold-start     one short run, printed and not written
    python -m benchmarks counts                 instructions against the stored counts; fails when they grew
    python -m benchmarks profile                what the time is spent on, in instructions, system calls and CPU time
"""

from __future__ import annotations

import argparse
import sys

from benchmarks import counts, profile, survey
from benchmarks.questions import QUESTIONS


def main() -> int:
    """Ask the questions named on the command line; the exit status is 1 when one has no answer or a count grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure warmstate against its peers.")
    parser.add_argument(
        "questions",
        nargs="*",
        metavar="QUESTION",
        help=f"{', '.join(QUESTIONS)}, counts, profile; all but these two when none is named",
    )
    parser.add_argument("--runs", type=int, default=3, help="how often every question is asked (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=18, help="no further run begins that would end later (default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short run, printed and not written into the documents"
    )
    parser.add_argument(
        "--accept", metavar="REASON", help="counts: store the counts of today, with the reason why they changed"
    )
    options = parser.parse_args()
    unknown = set(options.questions) - {*QUESTIONS, "counts", "profile"}
    if unknown:
        parser.error(
            f"no such question: {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}, counts and profile"
        )
    if options.runs < 1:
        parser.error("--runs: at least 1")
    if "counts" in options.questions:
        return counts.main(accept_because=options.accept)
    if "profile" in options.questions:
        return profile.main()
    questions = options.questions or list(QUESTIONS)
    if options.quick:
        return survey.quick(questions)
    return survey.conduct(questions, options.runs, options.minutes)


if __name__ == "__main__":
    sys.exit(main())
