"""What /proc tells about a process and its descendants: who they are, whether they are stopped, what memory they hold."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["children", "descendants", "is_stopped", "memory_bytes", "peak_bytes", "state", "strays"]

PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """The pids of the children of all threads of `pid`; empty when it is gone."""
    found = list[int]()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found.extend(int(word) for word in file.read().split())
    except OSError:
        pass
    return found


def descendants(pid: int) -> list[int]:
    """The pids of all descendants of `pid`, parents before children."""
    found, waiting = list[int](), children(pid)
    while waiting:
        child = waiting.pop()
        found.append(child)
        waiting.extend(children(child))
    return found


def strays(pid: int) -> list[int]:
    """The descendants of `pid` that are in another process group, which a signal to the group does not reach."""
    return [child for child in descendants(pid) if _field(child, 2) not in {str(pid), ""}]


def state(pid: int) -> str:
    """The state letter of /proc/PID/stat ("T" is stopped), or "" when there is no such process."""
    return _field(pid, 0)


def is_stopped(pid: int) -> bool:
    """Whether `pid` and all its descendants are stopped."""
    return all(state(member) in {"T", "Z", "X", ""} for member in (pid, *descendants(pid)))


def memory_bytes(pid: int) -> int:
    """The resident memory of `pid` and its descendants, in bytes."""
    total = 0
    for member in (pid, *descendants(pid)):
        try:
            with open(f"/proc/{member}/statm", encoding="ascii") as file:
                total += int(file.read().split()[1]) * PAGE
        except (OSError, IndexError):
            pass
    return total


def peak_bytes(pid: int) -> int:
    """The most resident memory `pid` itself ever held, in bytes; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _field(pid: int, number: int) -> str:
    """Field `number` of /proc/PID/stat, counted from the state; the name before it may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[number]
    except (OSError, IndexError):
        return ""
