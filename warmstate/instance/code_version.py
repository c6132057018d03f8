"""Which code wrote the state: state of other code is never taken over."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["code_version"]


def code_version(handler: type[Any], function_version: str | None) -> str:
    """
    A text that changes with the function's version and with the source of the handler class and of the classes it extends.

    A deploy starts a new execution environment anyway; this guards local development, where `/tmp` outlives an edit.
    """
    from _blake2 import blake2b

    digest = blake2b((function_version or "").encode(), digest_size=16)
    for cls in handler.__mro__:
        module = sys.modules.get(cls.__module__)
        path = getattr(module, "__file__", None)
        if path is None or cls.__module__.partition(".")[0] == "warmstate":
            continue
        digest.update(f"{cls.__module__}.{cls.__qualname__}\0".encode())
        try:
            with open(path, "rb") as source:
                digest.update(source.read())
        except OSError:
            digest.update(b"\0")  # inside a zip, say: the name has to do
    return digest.hexdigest()
