"""What /proc tells about a process and its descendants: who they are, whether they are stopped, what memory they hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["children", "descendants", "disk_usage", "is_stopped", "memory_bytes", "peak_bytes", "state", "strays"]

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
READ_BYTES: Final = 1 << 16


def children(pid: int) -> list[int]:
    """The pids of the children of all threads of `pid`; empty when it is gone."""
    found = list[int]()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found.extend(int(word) for word in _read(f"/proc/{pid}/task/{thread}/children").split())
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
            total += int(_read(f"/proc/{member}/statm").split()[1]) * PAGE
        except (OSError, IndexError):
            pass
    return total


def peak_bytes(pid: int) -> int:
    """The most resident memory `pid` itself ever held, in bytes; 0 when it is gone."""
    try:
        _, _, rest = _read(f"/proc/{pid}/status").partition(b"\nVmHWM:")
        return int(rest.split(None, 1)[0]) * 1024
    except (OSError, IndexError):
        return 0


def disk_usage(folder: str, pids: Sequence[int]) -> int:
    """Bytes on disk of all files below `folder`, each once, with those that are deleted and held open by `pids`."""
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]
    for member in [other for pid in pids for other in (pid, *descendants(pid))]:
        paths += _deleted_files(member, folder)
    sizes = dict[tuple[int, int], int]()
    for path in paths:
        try:
            facts = os.stat(path) if path.startswith("/proc/") else os.lstat(path)
        except OSError:
            continue
        sizes[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(sizes.values())


def _deleted_files(pid: int, folder: str) -> list[str]:
    found = list[str]()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{name}"
            target = os.readlink(path)
            if target.startswith(f"{folder}/") and target.endswith(" (deleted)"):
                found.append(path)
    except OSError:
        pass
    return found


def _field(pid: int, number: int) -> str:
    """Field `number` of /proc/PID/stat, counted from the state; the name before it may hold anything."""
    try:
        return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[number].decode()
    except (OSError, IndexError):
        return ""


def _read(path: str) -> bytes:
    """A file of the kernel's, in as few system calls as it takes: these are read for every invocation."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = piece = os.read(descriptor, READ_BYTES)
        while piece:  # a long list comes in pages
            piece = os.read(descriptor, READ_BYTES)
            data += piece
        return data
    finally:
        os.close(descriptor)
