"""A bucket in a directory, for those who have no S3 at hand: the same operations, and the same conditions."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..bucket import ABSENT, Conflict, Copy, Missing

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["DirectoryBucket"]


class DirectoryBucket:
    """A bucket in a directory: writes are atomic, conditions hold between processes, `kill -9` leaves nothing half done."""

    prefix = ""

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).absolute()
        self._root.mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"<DirectoryBucket {self._root}>"

    def get(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, str]:
        data = self._read(key)
        return data[start:end], _etag(data)

    def put(self, key: str, data: bytes, *, match: str | None) -> str:
        return self._write(key, data, match)

    def compose(self, key: str, pieces: Sequence[bytes | Copy], *, match: str) -> str:
        data = bytearray()
        for piece in pieces:
            if isinstance(piece, Copy):
                source = self._read(piece.key)
                if _etag(source) != piece.etag:
                    raise Conflict(piece.key)
                data += source[piece.start : piece.end]
            else:
                data += piece
        return self._write(key, bytes(data), match)

    def list(self, prefix: str, after: str, limit: int) -> list[str]:
        folder = prefix.rpartition("/")[0]
        found: list[str] = []
        for where, _, names in os.walk(self._root / folder):
            base = Path(where).relative_to(self._root).as_posix()
            found += [key for name in names if (key := f"{base}/{name}") > after and key.startswith(prefix)]
        return sorted(found)[:limit]

    def close(self) -> None:
        pass

    def is_locked(self) -> bool:
        """Whether a process is writing, or was stopped as it wrote."""
        with (self._root / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _read(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except OSError as error:  # not there, a directory, or a name too long to be there
            raise Missing(key) from error

    def _write(self, key: str, data: bytes, match: str | None) -> str:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._root / f".draft-{os.getpid()}-{os.urandom(4).hex()}"
        with self._locked():
            there = _etag(path.read_bytes()) if path.exists() else ABSENT
            if match is not None and there not in {match, _etag(data)}:
                raise Conflict(key)
            draft.write_bytes(data)
            draft.replace(path)
        return _etag(data)

    def _path(self, key: str) -> Path:
        if not key or any(part in {"", ".", ".."} for part in key.split("/")) or "\0" in key:
            raise Missing(key)  # S3 has such keys; no file can
        return self._root / key

    @contextmanager
    def _locked(self) -> Generator[None]:
        with (self._root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed, at the latest when the process dies
            yield


def _etag(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
