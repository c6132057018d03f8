"""What ran in a handler, wherever it ran."""

import pytest

from tests.contracts import handlers


class Recorded:
    """The steps that handlers wrote down, as a file that outlives their processes."""

    def __init__(self, path) -> None:
        self._path = path

    def take(self):
        """Everything since the last call."""
        steps = self._path.read_text().split("\n")[:-1] if self._path.exists() else []
        self._path.write_text("")
        return steps


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """The record of the handlers of this test."""
    path = tmp_path / "record"
    monkeypatch.setenv(handlers.RECORD, str(path))
    return Recorded(path)


@pytest.fixture
def host(warm_everywhere, recorded, tmp_path, request):
    """Make a platform, once in this process and once of real processes, whose handlers write to `recorded`."""

    def make(target, **options):
        if "processes" in request.node.name:
            options = {"variables": {handlers.RECORD: str(tmp_path / "record")}, "share": [str(tmp_path)]} | options
        return warm_everywhere(target, **options)

    return make
