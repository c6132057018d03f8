"""What an instance writes about itself is whole, or as it was."""

from __future__ import annotations

import contextlib
import json
import resource

import pytest

from warmstate.instance.inspection import write


@contextlib.contextmanager
def small_files():
    """No file grows beyond a kilobyte, as on a disk that is full; what tells of the tests must not be written meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_does_not_fit_leaves_what_was_there(tmp_path) -> None:
    """The disk takes a part of the new facts: a reader finds the old ones."""
    path = tmp_path / "facts.json"
    write(str(path), {"slots": 1})
    with pytest.raises(OSError, match="large"), small_files():
        write(str(path), {"slots": "x" * 4000})

    assert {"slots": 1} == json.loads(path.read_text())
