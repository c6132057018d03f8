"""The port through which the lower floors tell the log what they did, without knowing any log."""

from __future__ import annotations

__all__ = ["Notices"]


class Notices:
    """
    Receives what the runtime has to say about itself; this base class keeps quiet.

    A host passes its own subclass.
    `message` names what happened and what to do; `fields` are plain values for structured logs, never the user's data.
    """

    __slots__ = ()

    def info(self, message: str, **fields: object) -> None:
        """Something worth knowing happened, nothing is wrong."""

    def warning(self, message: str, **fields: object) -> None:
        """Something degraded or was dropped, and the instance goes on."""

    def error(self, message: str, **fields: object) -> None:
        """Something failed that the user must look at."""

    def once(self, key: str, message: str, **fields: object) -> None:
        """A warning that is said only the first time for `key` in the life of this process."""
