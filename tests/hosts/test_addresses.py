"""The address of the Runtime API, as the platform and the emulators write it."""

from __future__ import annotations

import pytest

from warmstate.errors import ConfigurationError
from warmstate.hosts.connection import parse_address


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:9001", ("127.0.0.1", 9001, "")),
        ("localhost:9001/", ("localhost", 9001, "")),
        ("[::1]:9001", ("::1", 9001, "")),
        ("127.0.0.1:9000/.rt/name", ("127.0.0.1", 9000, "/.rt/name")),
        ("http://127.0.0.1:9001", ("127.0.0.1", 9001, "")),
    ],
)
def test_addresses(text, parsed):
    """Host and port, and the path that cargo-lambda's server has before all calls."""
    assert parsed == parse_address(text)


@pytest.mark.parametrize("text", ["", "x:y", ":9001", "host:99999", "host:-1"])
def test_addresses_that_are_none(text):
    """The message names the variable."""
    with pytest.raises(ConfigurationError, match="AWS_LAMBDA_RUNTIME_API"):
        parse_address(text)
