"""Where the benchmarks find their parts, and where they keep what they make, so that a second run finds it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CACHE", "HANDLERS", "PLATFORM", "ROOT"]

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "benchmarks"
HANDLERS = Path(__file__).parent / "handlers"
PLATFORM = Path(__file__).parent / "platform"
