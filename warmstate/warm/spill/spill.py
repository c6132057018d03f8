"""
The spill: bytes that do not fit into memory wait in /tmp until they are used again.

1. It is scratch of this process and nobody else's: no other process, and no later one, ever reads it. So its files have no
   names. The database is unlinked as soon as it is open, and large buffers go into files that never had a name
   (`O_TMPFILE`). What has no name cannot be planted, swapped, truncated or followed through a link, and the kernel frees it
   with the process, however that ends. (`df` counts these bytes; `du` and `ls` do not show them.)
2. Small buffers are rows of a diskcache database (`rows`), large ones files of their own (`nameless`), because SQLite writes
   a megabyte five times slower than the disk does.
3. A fault never reaches the caller as anything but "refused" (put), `SpillLost` or `SpillUnavailable` (get). After three
   faults in a row the disk is left alone for a while; a full disk is no fault, it is asked again each time.
4. Every buffer is read back through its `Spilled`, which knows what must be found; anything else is `SpillLost`.
"""

from __future__ import annotations

import _thread
import os

from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.notices import Notices
from warmstate.warm.spill.files import SYSTEM_FILES, Files
from warmstate.warm.spill.nameless import NamelessFiles
from warmstate.warm.spill.spilled import FULL, Buffer, Spilled, SpillLost, SpillUnavailable, is_full
from warmstate.wire.failure import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from warmstate.warm.spill.rows import Rows

    Bytes = TypeVar("Bytes", bytes, memoryview)

__all__ = ["Spill", "SpillLost", "SpillUnavailable", "Spilled"]

LARGE = 64 * 1024
"""From here on a buffer has a file of its own."""
MOST_FILES = 128
"""Open files that the spill allows itself; a function may have 1,024, and they are the user's. Beyond, large ones become rows."""
FAULTS_IN_A_ROW = 3
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""After so many faults in a row the disk is left alone for a second, doubled with each further fault up to half a minute."""


class Spill:
    """
    Bounded scratch space for buffers, below a directory that belongs to this process alone.

    Args:
        directory: Where the files live; made anew if it vanished.
        budget: Bytes it may take on the disk, all overhead included; by default half of what is free, at most 512 MB.
        reserve: Bytes of the file system that it leaves free for the user's own files; by default a twentieth, at most 32 MB.
        clock: Measures the pauses after faults.
        notices: Hears once of each kind of trouble.
        files: The file system; tests pass one that fails.
    """

    __slots__ = (
        "_budget",
        "_clock",
        "_directory",
        "_faults",
        "_files",
        "_large",
        "_lock",
        "_notices",
        "_pause_until",
        "_pid",
        "_reserve",
        "_rows",
        "_serial",
        "counts",
    )

    def __init__(
        self,
        directory: str,
        *,
        budget: int | None = None,
        reserve: int | None = None,
        clock: Clock = SYSTEM_CLOCK,
        notices: Notices | None = None,
        files: Files = SYSTEM_FILES,
    ) -> None:
        self._directory = directory
        self._budget = _half_of_free(directory, files) if budget is None else budget
        self._reserve = reserve
        self._clock = clock
        self._notices = Notices() if notices is None else notices
        self._files = files
        self._large = NamelessFiles(directory, files)
        self._rows: Rows | None = None
        self._lock = _thread.allocate_lock()
        self._pid = os.getpid()
        self._serial = 0
        self._faults = 0
        self._pause_until = (0.0, 0.0)
        self.counts = {"written": 0, "read": 0, "refused": 0, "full": 0, "faults": 0, "lost": 0, "rebuilt": 0}

    def __repr__(self) -> str:
        return f"<Spill {self.nbytes} of {self._budget} bytes, {self.counts['faults']} faults>"

    @property
    def budget(self) -> int:
        """Bytes it may take on the disk."""
        return self._budget

    @property
    def nbytes(self) -> int:
        """Bytes it takes on the disk now."""
        return self._large.nbytes + (0 if self._rows is None else self._rows.nbytes)

    def room(self) -> int:
        """Bytes that it may still take, pages that deleted rows left included; negative when it is over."""
        with self._lock:
            taken = self._large.nbytes + (0 if self._rows is None else self._rows.live_bytes)
            return self._budget - taken

    def put(self, key: str, buffers: Sequence[Buffer], *, sealed: bool = False) -> Spilled | None:
        """
        Write the bytes of `buffers`, one after the other, and return what reads them back; None if they are refused.

        `key` names them in `repr` only. `sealed` adds a keyed digest over the bytes, for a codec that must never meet bytes
        that this process did not write.
        """
        return self.put_many([(key, buffers)], sealed=sealed)[0]

    def put_many(self, items: Sequence[tuple[str, Sequence[Buffer]]], *, sealed: bool = False) -> list[Spilled | None]:
        """Write several; the small ones share one transaction, so they are written or refused together."""
        results: list[Spilled | None] = [None] * len(items)
        with self._lock:
            if not self._is_open():
                self.counts["refused"] += len(items)
                return results
            small: list[tuple[int, Spilled, Sequence[Buffer]]] = []
            planned = 0
            for index, (key, buffers) in enumerate(items):
                nbytes = sum(memoryview(buffer).nbytes for buffer in buffers)
                large = nbytes >= LARGE and self._large.count < MOST_FILES
                if not self._has_room(nbytes if large else nbytes + planned, large=large):
                    continue
                self._serial += 1
                spilled = Spilled(key, self._serial, nbytes, sealed=sealed)
                if large:
                    try:
                        self._large.write(spilled, buffers)
                    except Exception as error:  # noqa: BLE001 - whatever the disk does, the caller keeps its value
                        self._trouble("write", error)
                    else:
                        self._faults = 0
                        results[index] = spilled
                else:
                    small.append((index, spilled, buffers))
                    planned += nbytes
            if small and self._write_rows([(spilled, buffers) for _, spilled, buffers in small]):
                for index, spilled, _ in small:
                    results[index] = spilled
            written = len(items) - results.count(None)
            self.counts["written"] += written
            self.counts["refused"] += len(items) - written
        return results

    def get(self, spilled: Spilled) -> bytes:
        """
        Read the bytes back.

        Raises:
            SpillLost: they are gone or damaged for good.
            SpillUnavailable: they cannot be read now; a later attempt may succeed.
        """
        with self._lock:
            return self._read(spilled)

    def map(self, spilled: Spilled) -> memoryview:
        """
        The bytes as private memory that can be written: large ones are mapped, and read by the kernel as they are touched.

        Raises:
            SpillLost: they are gone or damaged for good.
            SpillUnavailable: they cannot be read now; a later attempt may succeed.
        """
        with self._lock:
            if spilled.fd is not None and not spilled.sealed:
                return self._guarded(spilled, self._large.map)
            return memoryview(bytearray(self._read(spilled)))

    def drop(self, spilled: Spilled) -> None:
        """Give the bytes up; safe to repeat."""
        self.drop_many((spilled,))

    def drop_many(self, dropped: Sequence[Spilled]) -> None:
        """Give up several, the small ones in one transaction."""
        with self._lock:
            if os.getpid() != self._pid:
                return
            rows: list[Spilled] = []
            for spilled in dropped:
                if spilled.fd is not None:
                    self._large.drop(spilled)
                elif spilled.epoch is not None:
                    rows.append(spilled)
            if rows and self._rows is not None:
                try:
                    self._rows.drop(rows)
                except Exception as error:  # noqa: BLE001 - as in put
                    self._row_trouble("drop", error)

    def settle(self) -> None:
        """Give space that rows no longer need back to the file system; call it when nobody waits."""
        with self._lock:
            if self._rows is not None and self._is_open():
                try:
                    self._rows.compact()
                except Exception as error:  # noqa: BLE001 - as in put
                    self._row_trouble("compact", error)

    def close(self) -> None:
        """Give everything up; safe to repeat. What was put can no longer be read."""
        with self._lock:
            if os.getpid() == self._pid:
                self._large.close()
                if self._rows is not None:
                    self._rows.close()
            self._rows = None
            self._budget = 0

    def info(self) -> dict[str, object]:
        """Bytes, entries and counts as plain values."""
        paused = self._pause()
        rows = self._rows
        return {
            "nbytes": self.nbytes,
            "budget": self._budget,
            "files": self._large.count,
            "rows": 0 if rows is None else rows.count,
            "paused_for": round(max(paused, 0.0), 3),
            **self.counts,
        }

    # Under the lock

    def _is_open(self) -> bool:
        # A fork inherits the connection and the descriptors, and would write through them: it gets no spill.
        return self._budget > 0 and os.getpid() == self._pid and self._pause() <= 0.0

    def _pause(self) -> float:
        wall, mono = self._pause_until
        return min(wall - self._clock.wall(), mono - self._clock.monotonic()) if wall else 0.0

    def _has_room(self, nbytes: int, *, large: bool = False) -> bool:
        growth = nbytes if large or self._rows is None else self._rows.growth(nbytes)
        if self.nbytes + growth > self._budget and (self._rows is None or not self._compacted_for(self._rows, nbytes)):
            return False
        try:
            system = self._files.statvfs(self._directory)
        except FileNotFoundError:  # the directory vanished: it is made anew where it is needed
            return True
        except OSError as error:
            self._trouble("look at", error)
            return False
        reserve = self._reserve
        if reserve is None:
            reserve = min(32 * 1024 * 1024, system.f_blocks * system.f_frsize // 20)
        if system.f_bavail * system.f_frsize - growth >= reserve:
            return True
        self.counts["full"] += 1
        self._notices.once("spill-full", FULL.format(directory=self._directory))
        return False

    def _compacted_for(self, rows: Rows, nbytes: int) -> bool:
        """Whether giving back the pages that deleted rows left makes room, done at once if it does."""
        if self._large.nbytes + rows.live_bytes + nbytes > self._budget:
            return False
        try:
            rows.compact(at_once=True)
        except Exception as error:  # noqa: BLE001 - as in put
            self._row_trouble("compact", error)
        return self.nbytes + nbytes <= self._budget

    def _write_rows(self, items: list[tuple[Spilled, Sequence[Buffer]]]) -> bool:
        try:
            if self._rows is None:
                from warmstate.warm.spill.rows import Rows

                self._rows = Rows(self._directory, self._files)
            self._rows.write(items)
        except Exception as error:  # noqa: BLE001 - as in put
            self._row_trouble("write", error)
            return False
        self._faults = 0
        return True

    def _read(self, spilled: Spilled) -> bytes:
        if spilled.fd is not None:
            return self._guarded(spilled, self._large.read)
        rows = self._rows
        if rows is None or spilled.epoch is not rows:
            self.counts["lost"] += 1
            raise SpillLost(f"{spilled!r}: the database that held it is gone")
        return self._guarded(spilled, rows.read)

    def _guarded(self, spilled: Spilled, read: Callable[[Spilled], Bytes]) -> Bytes:
        if os.getpid() != self._pid:
            raise SpillUnavailable("this process is a fork of the one that spilled")
        try:
            found = read(spilled)
        except SpillLost as error:
            self.counts["lost"] += 1
            self._notices.once("spill-lost", f"A spilled value was damaged and is treated as missing: {error}")
            raise
        except Exception as error:
            if spilled.fd is None:
                self._row_trouble("read", error)
            else:
                self._trouble("read", error)
            raise SpillUnavailable(f"{spilled!r}: {error}") from error
        self.counts["read"] += 1
        return found

    def _trouble(self, verb: str, error: Exception) -> None:
        if is_full(error):
            self.counts["full"] += 1
            self._notices.once("spill-full", FULL.format(directory=self._directory))
            return
        self.counts["faults"] += 1
        self._faults += 1
        self._notices.once(
            f"spill-{verb}-{type(error).__name__}",
            f"Cannot {verb} spilled values in {self._directory}, so they stay in memory: {describe(error)}",
        )
        if self._faults >= FAULTS_IN_A_ROW:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._faults - FAULTS_IN_A_ROW, 16))
            self._pause_until = (self._clock.wall() + pause, self._clock.monotonic() + pause)

    def _row_trouble(self, verb: str, error: Exception) -> None:
        """As `_trouble`; and a database that can no longer be trusted is given up, with all that it held."""
        self._trouble(verb, error)
        rows = self._rows
        if rows is not None and not rows.is_sound(error, patient=self._faults < FAULTS_IN_A_ROW):
            rows.close()
            self._rows = None
            self.counts["rebuilt"] += 1


def _half_of_free(directory: str, files: Files) -> int:
    try:
        system = files.statvfs(directory)
    except OSError:
        return 0
    return min(512 * 1024 * 1024, system.f_bavail * system.f_frsize // 2)
