"""
What the marker in /tmp tells of the process that wrote it.

1. It is 256 bytes in three fields:

       0    who: format, environment id, pid, generation, strikes, identity of the sandbox
       64   what: phase, request id, deadline, number of the last commit
       224  last word: a word and when it was said, or blank

2. What was read comes from a process that may have died between any two instructions, or from anybody who can write to
   /tmp: everything is checked, and what does not fit counts as no marker.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmstate.lifecycle.events import ResetReason

__all__ = ["FORMAT", "SIZE", "WHAT", "WHO", "WORD", "Predecessor"]

SIZE = 256
WHO, WHAT, WORD = 0, 64, 224
"""Where the fields begin."""
FORMAT = "warmstate1"
_PHASES = ("init", "reinit", "next", "invoke", "snapshot")  # reinit: after one that had reached its first next
_SIGTERM_EARLY_MS = 100  # a SIGTERM this much before a deadline is still that deadline's


class Predecessor:
    """What the marker tells of the process that owned the directory before this one."""

    __slots__ = (
        "deadline_ms",
        "environment_id",
        "generation",
        "identity",
        "last_commit",
        "phase",
        "pid",
        "request_id",
        "strikes",
        "word",
        "word_ms",
    )

    def __init__(self, record: bytes) -> None:
        """
        Raises:
            ValueError: these bytes are no marker.
        """
        who = _field(record, WHO, WHAT).split(" ")
        if len(who) != 6 or who[0] != FORMAT or len(who[1]) != 16:
            raise ValueError("no marker")
        self.environment_id = who[1]
        self.pid, self.generation, self.strikes = int(who[2]), int(who[3]), int(who[4])
        self.identity = who[5]
        what = _field(record, WHAT, WORD).split(" ")
        self.phase, request_id, deadline_ms, last_commit = what if len(what) == 4 else (what[0], "", "0", "0")
        if self.phase not in _PHASES or self.generation < 1:
            raise ValueError("no marker")
        self.request_id = request_id or None
        self.deadline_ms = int(deadline_ms)
        self.last_commit = int(last_commit, 16)
        self.word, _, word_ms = _field(record, WORD, SIZE).partition(" ")
        self.word_ms = int(word_ms or 0)

    @classmethod
    def read(cls, record: bytes) -> Predecessor | None:
        """What these bytes tell, or None: they are no marker."""
        try:
            return cls(record)
        except ValueError:
            return None

    @property
    def reason(self) -> ResetReason:
        """Why this process ended: it said so itself, or SIGTERM met it past its deadline, or else it crashed."""
        if self.word == "exit":
            return "exit"
        if self.word == "term" and self.phase == "invoke" and self.word_ms >= self.deadline_ms - _SIGTERM_EARLY_MS:
            return "timeout"
        return "crash"

    def __repr__(self) -> str:
        return f"<Predecessor pid={self.pid}, generation={self.generation}, phase={self.phase}, {self.reason}>"


def _field(record: bytes, begin: int, end: int) -> str:
    return record[begin:end].partition(b"\n")[0].strip().decode("ascii")
