"""
Where photos and video live: five operations, which `s3.py` offers over S3.

The one that matters is the conditional `put`: it writes only while the object is still the one that was read. That makes one
object a commit that two instances cannot both win.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

ABSENT = ""
"""The etag of an object that is not there: `put(match=ABSENT)` creates, and never replaces."""


class Missing(Exception):
    """Raised when an object is not there."""


class Conflict(Exception):
    """Raised when an object is not, or no longer, the one that a conditional write expected. Nothing was written."""


class Refused(Exception):
    """Raised when the store does not let us: the object, or all of the bucket. The message says what it said."""


class Copy(NamedTuple):
    """The bytes `start` to `end` of the object `key`, while its etag is `etag`: copied inside the store."""

    key: str
    start: int
    end: int
    etag: str


class Bucket(Protocol):
    """
    The operations.

    `get` gives the object's bytes from `start` to before `end`, and its etag. Raises Missing.
    `put` writes the object and gives its new etag; with `match=None` unconditionally. Raises Conflict, unless the object already
    holds just this data: that makes a repeated write harmless, and wants data that no two writers share.
    `compose` writes an object made of `pieces`; all but the last have at least 5 MiB (S3's rule). Raises Conflict.
    `list` gives up to `limit` keys that begin with `prefix` and sort behind `after`, in order, without folders (keys that end in "/").
    `close` lets connections go.
    """

    prefix: str
    """What keys begin with in events, and not for the function: the folder of an S3 bucket."""

    def get(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, str]: ...

    def put(self, key: str, data: bytes, *, match: str | None) -> str: ...

    def compose(self, key: str, pieces: Sequence[bytes | Copy], *, match: str) -> str: ...

    def list(self, prefix: str, after: str, limit: int) -> list[str]: ...

    def close(self) -> None: ...


def open_bucket(url: str) -> Bucket:
    """Opens `s3://name/prefix`, or, to try it out, a directory given by its path."""
    if url.startswith("s3://"):
        from .s3 import S3Bucket

        name, _, prefix = url.removeprefix("s3://").partition("/")
        return S3Bucket(name, prefix)
    from .studio.directory import DirectoryBucket

    return DirectoryBucket(url)
