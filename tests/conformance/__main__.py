"""
Scores the runtime against both corpora.

    python -m tests.conformance                      both corpora over both transports
    python -m tests.conformance --transport native   over one
    python -m tests.conformance handler P13          rows whose corpus, id or name has one of these words
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.conformance import score_handlers, score_protocol
from tests.conformance.handler_faults import HANDLER_FAULTS
from tests.conformance.protocol_faults import PROTOCOL_FAULTS

CORPORA = {
    "handler": (HANDLER_FAULTS, score_handlers.problem_with),
    "protocol": (PROTOCOL_FAULTS, score_protocol.problem_with),
}
AT_ONCE = 2


def main() -> int:
    """Run what the command line asks for and print the score; the exit status is 1 when a row failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Score the runtime under faults.")
    parser.add_argument("words", nargs="*", metavar="WORD", help="rows whose corpus, id or name has one of these words")
    parser.add_argument("--transport", choices=("native", "requests"), help="over this transport only")
    options = parser.parse_args()
    failed = 0
    for transport in [options.transport] if options.transport else ["native", "requests"]:
        for corpus, (faults, problem_with) in CORPORA.items():
            chosen = [
                fault
                for fault in faults
                if not options.words or any(word in f"{corpus} {fault.id} {fault.name}" for word in options.words)
            ]
            with ThreadPoolExecutor(AT_ONCE) as pool:
                problems = list(pool.map(problem_with, chosen, [transport] * len(chosen)))
            for fault, problem in zip(chosen, problems, strict=True):
                if problem:
                    failed += 1
                    print(f"  {fault.id:<4} {fault.name}: {problem}")
            good = sum(1 for problem in problems if problem is None)
            print(f"{transport:<9} {corpus:<9} {good} of {len(chosen)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
