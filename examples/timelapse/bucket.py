"""
Where photos and video live: six operations, and a plain directory that offers them.

The one that matters is the conditional `put`: it writes only while the object is still the one that was read. That makes one
object a commit that two instances cannot both win. `s3.py` offers the same over S3.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

ABSENT = ""
"""The etag of an object that is not there: `put(match=ABSENT)` creates, and never replaces."""


class Missing(Exception):
    """Raised when an object is not there."""


class Conflict(Exception):
    """Raised when an object is not, or no longer, the one that a conditional write expected. Nothing was written."""


class Copy(NamedTuple):
    """The bytes `start` to `end` of the object `key`, while its etag is `etag`: copied inside the store."""

    key: str
    start: int
    end: int
    etag: str


class Bucket(Protocol):
    """The operations; `match=None` writes unconditionally."""

    requests: int
    bytes_moved: int

    def get(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, str]:
        """Gives the object's bytes from `start` to before `end`, and its etag. Raises Missing."""
        ...

    def etag(self, key: str) -> str:
        """Gives the object's etag, `ABSENT` if there is none."""
        ...

    def put(self, key: str, data: bytes, *, match: str | None) -> str:
        """
        Writes the object and gives its new etag. Raises Conflict, unless the object already holds just this data.

        That exception makes a repeated write harmless, and wants data that no two writers share.
        """
        ...

    def compose(self, key: str, pieces: Sequence[bytes | Copy], *, match: str) -> str:
        """Writes an object made of `pieces`; all but the last have at least 5 MiB (S3's rule). Raises Conflict."""
        ...

    def list(self, prefix: str, after: str, limit: int) -> list[str]:
        """Gives up to `limit` keys that begin with `prefix` and sort behind `after`, in order."""
        ...

    def close(self) -> None:
        """Lets connections go."""
        ...

    def read_meter(self) -> tuple[int, int]:
        """Gives the requests, and the bytes moved in both directions, since the last reading."""
        ...


class Metered:
    """Counts for a bucket."""

    requests = bytes_moved = 0

    def read_meter(self) -> tuple[int, int]:
        counts, self.requests, self.bytes_moved = (self.requests, self.bytes_moved), 0, 0
        return counts

    def _count(self, moved: int = 0, requests: int = 1) -> None:
        self.requests += requests
        self.bytes_moved += moved


class DirectoryBucket(Metered):
    """A bucket in a directory: writes are atomic, conditions hold between processes, `kill -9` leaves nothing half done."""

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).absolute()
        self._root.mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"<DirectoryBucket {self._root}>"

    def get(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, str]:
        self._count()
        data = self._read(key)
        self._count(len(data[start:end]), 0)
        return data[start:end], _etag(data)

    def etag(self, key: str) -> str:
        self._count()
        try:
            return _etag(self._read(key))
        except Missing:
            return ABSENT

    def put(self, key: str, data: bytes, *, match: str | None) -> str:
        self._count(len(data))
        return self._write(key, data, match)

    def compose(self, key: str, pieces: Sequence[bytes | Copy], *, match: str) -> str:
        self._count(sum(len(piece) for piece in pieces if isinstance(piece, bytes)), len(pieces) + 2)
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
        self._count()
        folder = prefix.rpartition("/")[0]
        found: list[str] = []
        for where, _, names in os.walk(self._root / folder):
            base = Path(where).relative_to(self._root).as_posix()
            found += [key for name in names if (key := f"{base}/{name}") > after and key.startswith(prefix)]
        return sorted(found)[:limit]

    def close(self) -> None:
        pass

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


def open_bucket(url: str) -> Bucket:
    """Opens `s3://name/prefix`, or a directory given by its path."""
    if not url.startswith("s3://"):
        return DirectoryBucket(url)
    from .s3 import S3Bucket  # boto3 takes half a second to import, so only where it is used

    name, _, prefix = url.removeprefix("s3://").partition("/")
    return S3Bucket(name, prefix)


def _etag(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
