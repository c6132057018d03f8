"""
The one shape of error of the command line, and its exit codes.

    0 done · 1 the function returned an error · 2 usage or configuration · 3 emulator not reachable, or port taken ·
    4 init failed · 5 the function timed out · 7 doctor found a problem · 9 throttled · 130 Ctrl-C
"""

from __future__ import annotations

import json
import sys
from typing import Any

__all__ = [
    "EXIT_FUNCTION_ERROR",
    "EXIT_INIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_PROBLEM_FOUND",
    "EXIT_THROTTLED",
    "EXIT_TIMED_OUT",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "Problem",
]

EXIT_OK = 0
EXIT_FUNCTION_ERROR = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INIT_FAILED = 4
EXIT_TIMED_OUT = 5
EXIT_PROBLEM_FOUND = 7
EXIT_THROTTLED = 9
EXIT_INTERRUPTED = 130


class Problem(Exception):
    """
    What went wrong, for a person: `what` happened, `where`, `why`, and how to `fix` it.

    `code` is stable ("WS201"), `exit` is the exit code.
    """

    def __init__(self, code: str, what: str, *, exit: int, where: str = "", why: str = "", fix: str = "") -> None:
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
            print(json.dumps(self.as_json(), ensure_ascii=False))
            return
        lines = [f"error[{self.code}]: {self.what}"]
        if self.where:
            lines.append(f"  {self.where}")
        lines += [f"  {name}   {text}" for name, text in (("why", self.why), ("fix", self.fix)) if text]
        print("\n".join(lines), file=sys.stderr)
