"""What the parts of the spill share: the receipt for spilled bytes, the two ways of not getting them back, a full disk."""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Buffer: TypeAlias = bytes | bytearray | memoryview
else:
    Buffer = bytes

__all__ = ["FULL", "Buffer", "SpillLost", "SpillUnavailable", "Spilled", "is_full"]

FULL = (
    "No room is left in {directory} for spilled values, so they stay in memory: free space there, or give the function more "
    "ephemeral storage"
)


class SpillLost(Exception):
    """Raised when spilled bytes are gone or damaged for good."""


class SpillUnavailable(Exception):
    """Raised when spilled bytes cannot be read now; they may be later."""


class Spilled:
    """
    The receipt for bytes that were spilled, and the only way to get them back: it lives in memory and knows what must be found.

    `nbytes` is what was written, `disk_bytes` what it takes on the disk.
    """

    __slots__ = (
        "changed",
        "checksum",
        "digest",
        "disk_bytes",
        "epoch",
        "fd",
        "identity",
        "key",
        "nbytes",
        "sealed",
        "serial",
    )

    def __init__(self, key: str, serial: int, nbytes: int, *, sealed: bool) -> None:
        self.key = key
        self.serial = serial
        self.nbytes = nbytes
        self.sealed = sealed
        self.disk_bytes = 0
        self.fd: int | None = None
        self.identity: tuple[int, int] | None = None  # device and inode of its file
        self.changed = 0  # when its file was changed last, in nanoseconds
        self.epoch: object = None  # the database that holds its row
        self.checksum = 0
        self.digest = b""

    def __repr__(self) -> str:
        where = "file" if self.fd is not None else "row" if self.epoch is not None else "dropped"
        return f"<Spilled #{self.serial}, {self.nbytes} bytes, {where}>"


def is_full(error: BaseException) -> bool:
    """Whether an error means that the disk, its quota, its inodes, or the table of open files is full: it may pass any moment."""
    if isinstance(error, OSError):
        # ENOENT as well: for a new file on a full ext4 the kernel reports what mkdir failed with before.
        return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}
    return "disk is full" in str(error)
