"""What `warmstate doctor` says of one thing."""

from __future__ import annotations

import attrs

__all__ = ["Finding"]


@attrs.frozen
class Finding:
    """One check: "ok", "warning" or "problem", what was found, and what to do."""

    check: str
    status: str
    found: str
    fix: str = ""
