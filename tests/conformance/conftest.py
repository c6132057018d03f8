"""Lets the corpora be imported as the package that `python -m tests.conformance` runs."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
