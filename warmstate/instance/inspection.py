"""Where `warmstate state` looks: a frozen process cannot be asked, so an instance writes down what it holds."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["write"]


def write(path: str, facts: Mapping[str, object]) -> None:
    """
    Replace the file at `path` by `facts` as JSON, so that a reader finds the old or the new, never a part.

    Raises:
        OSError: The file cannot be written.
    """
    import json

    beside = f"{path}.{os.getpid()}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # unlike os.write, it raises where the disk takes a part alone
        file.write(json.dumps(facts, default=str).encode())
    os.replace(beside, path)
