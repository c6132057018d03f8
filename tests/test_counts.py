"""The hot and the cold path do not grow unnoticed: instructions are counted, because times are too noisy to guard with."""

from __future__ import annotations

import pytest

from benchmarks import counts
from benchmarks.install import Unavailable
from benchmarks.interpreters import find_interpreter


@pytest.mark.process
@pytest.mark.peer
@pytest.mark.parametrize("version", counts.VERSIONS)
def test_no_path_grew(version) -> None:
    """No count is more than three per cent above the one that was last accepted for this interpreter."""
    try:
        interpreter = find_interpreter(version)
        accepted = counts.accepted(interpreter)
        if accepted is None:
            pytest.skip(f"no counts are stored for {interpreter.build}; `make counts ACCEPT='reason'` stores them")
        grown = counts.grown_for_sure(interpreter, accepted)
    except Unavailable as reason:
        pytest.skip(str(reason))

    assert [] == grown


def test_growth_beyond_the_tolerance_is_named() -> None:
    """A path that grew by four per cent is reported with both counts; one that grew by two is not."""
    grown = counts.compare({"hot": 104_000, "cold": 1_020_000}, {"hot": 100_000, "cold": 1_000_000})

    assert ["hot: 104,000 instructions, +4.0% against 100,000"] == grown
