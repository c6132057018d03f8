"""Where the benchmarks keep what they make, so that a second run finds it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CACHE", "HANDLERS", "ROOT"]

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "benchmarks"
HANDLERS = Path(__file__).parent / "handlers"
