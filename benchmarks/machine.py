"""The name of the machine, as every table carries it."""

from __future__ import annotations

import os
import platform
import re
from datetime import datetime, timezone
from pathlib import Path

__all__ = ["describe"]


def describe() -> str:
    """One sentence: processor, cores, memory, kernel, Python, day, and how busy the machine was with other things."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model[1].strip() if model else platform.machine()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB, "
        f"{platform.system()} {platform.release().partition('-')[0]}, {platform.python_implementation()} {platform.python_version()}, "
        f"{datetime.now(timezone.utc):%Y-%m-%d}, load {os.getloadavg()[0]:.1f} at the start."
    )
