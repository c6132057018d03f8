"""What /proc tells about a process and its descendants: who they are, whether they are stopped, what memory they hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Status", "children", "descendants", "disk_usage", "is_stopped", "memory_bytes", "state", "strays"]

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
READ_BYTES: Final = 1 << 16
STATUS_BYTES: Final = 1 << 14


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


class Status:
    """What /proc/PID/status says of one process; the file stays open, for it is read several times an invocation."""

    def __init__(self, pid: int) -> None:
        self._path = f"/proc/{pid}/status"
        self._descriptor: int | None = None

    @property
    def state(self) -> str:
        """The state letter ("Z" has ended), or "" when there is no such process."""
        return self._field(b"\nState:").decode()

    @property
    def peak_bytes(self) -> int:
        """The most resident memory that the process itself ever held; 0 when it is gone."""
        return int(self._field(b"\nVmHWM:") or 0) * 1024

    def close(self) -> None:
        """Read no more: the pid may soon be another's."""
        if self._descriptor is not None and self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _field(self, name: bytes) -> bytes:
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            _, _, rest = os.pread(self._descriptor, STATUS_BYTES, 0).partition(name)
        except OSError:
            return b""
        return rest.split(None, 1)[0] if rest else b""


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
    """A file of the kernel's, in as few system calls as it takes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = piece = os.read(descriptor, READ_BYTES)
        while piece:  # a long list comes in pages
            piece = os.read(descriptor, READ_BYTES)
            data += piece
        return data
    finally:
        os.close(descriptor)
