"""The name of the machine, as every table carries it, and how much of it others had meanwhile."""

from __future__ import annotations

import os
import platform
import re
import resource
from datetime import datetime, timezone
from pathlib import Path

__all__ = ["Neighbours", "describe"]

QUIET_SHARE = 0.1
"""Of the processor's time: what others may take before the tables call the machine busy."""


def describe() -> str:
    """One sentence: processor, cores, memory, kernel, Python, day."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Measured on {model[1].strip() if model else platform.machine()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB, "
        f"{platform.system()} {platform.release().partition('-')[0]}, {platform.python_implementation()} {platform.python_version()}, "
        f"{datetime.now(timezone.utc):%Y-%m-%d}."
    )


class Neighbours:
    """Watches from its making on what other programs do on this machine."""

    def __init__(self) -> None:
        self._load = os.getloadavg()[0]
        self._others, self._capacity = self._seconds()

    @staticmethod
    def _seconds() -> tuple[float, float]:
        """Processor seconds of everybody but this process and the children it has waited for, and of all there are."""
        ticks = os.sysconf("SC_CLK_TCK")
        fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
        user, nice, system, idle, iowait, irq, softirq, steal = (int(field) / ticks for field in fields)
        own = sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        busy = user + nice + system + irq + softirq + steal
        return busy - own, busy + idle + iowait

    def describe(self) -> str:
        """How busy the machine was at the start and since, and what that means for the numbers."""
        others, capacity = self._seconds()
        share = max(0.0, others - self._others) / max(1e-9, capacity - self._capacity)
        sentence = f"Load {self._load:.1f} at the start; other programs had {share:.0%} of the processor meanwhile."
        if share <= QUIET_SHARE:
            return sentence
        return f"{sentence} **The machine was busy: ratios hold roughly, times do not.**"
