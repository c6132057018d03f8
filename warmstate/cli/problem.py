"""The one shape of error of the command line, and its exit codes."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "EXIT_BUG",
    "EXIT_CODES",
    "EXIT_FUNCTION_ERROR",
    "EXIT_INIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_PROBLEM_FOUND",
    "EXIT_THROTTLED",
    "EXIT_TIMED_OUT",
    "EXIT_UNEXPECTED",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "Problem",
]

EXIT_OK = 0
EXIT_FUNCTION_ERROR = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_UNEXPECTED = 8
EXIT_INIT_FAILED = 4
EXIT_TIMED_OUT = 5
EXIT_PROBLEM_FOUND = 7
EXIT_THROTTLED = 9
EXIT_BUG = 70
EXIT_INTERRUPTED = 130

EXIT_CODES = {
    EXIT_OK: "done",
    EXIT_FUNCTION_ERROR: "the function returned an error",
    EXIT_USAGE: "usage or configuration",
    EXIT_UNREACHABLE: "no emulator answers, or the port is taken",
    EXIT_INIT_FAILED: "the function did not start: its init failed",
    EXIT_TIMED_OUT: "the function ran over its time",
    EXIT_PROBLEM_FOUND: "`doctor` found a problem",
    EXIT_UNEXPECTED: "`--expect-start`: it was found in another way",
    EXIT_THROTTLED: "throttled: every instance is busy",
    EXIT_BUG: "a mistake of warmstate's own",
    EXIT_INTERRUPTED: "Ctrl-C",
}
"""Each exit code and its meaning, for `--help` and the documents."""


class Problem(Exception):
    """
    What went wrong, for a person: `what` happened, `where`, `why`, and how to `fix` it.

    `code` is stable ("WS201"), `exit` is the exit code.
    """

    def __init__(self, code: str, what: str, *, exit: int, fix: str, where: str = "", why: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.exit = exit
        self.where = where
        self.why = why
        self.fix = fix

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        fields = {"what": self.what, "where": self.where, "why": self.why, "fix": self.fix}
        return {"v": 1, "ok": False, "code": self.code, "exit": self.exit, **{k: v for k, v in fields.items() if v}}

    def print(self, *, as_json: bool) -> None:
        """Say it: as JSON on stdout, or in lines on stderr."""
        if as_json:
            import json

            print(json.dumps(self.as_json(), ensure_ascii=False))
            return
        lines = [f"error[{self.code}]: {self.what}"]
        if self.where:
            lines.append(f"  {self.where}")
        lines += [f"  {name}   {text}" for name, text in (("why", self.why), ("fix", self.fix)) if text]
        print("\n".join(lines), file=sys.stderr)
