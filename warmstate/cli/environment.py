"""`warmstate env`: what lets AWS's own tools talk to the emulator."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from warmstate.cli.client import find_endpoint
from warmstate.cli.output import print_json
from warmstate.cli.problem import EXIT_OK

if TYPE_CHECKING:
    import argparse

__all__ = ["env"]


NAMES = (
    "AWS_ENDPOINT_URL_LAMBDA",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
"""What is exported."""


def env(options: argparse.Namespace) -> int:
    """Print shell exports; the access key id carries the emulator's token, where it has one."""
    if options.unset:
        if options.json:
            print_json({"v": 1, "unset": NAMES})
        else:
            print("unset", *NAMES)
        return EXIT_OK
    endpoint = find_endpoint(options)
    values = (endpoint.url, endpoint.token or "local", "local", "us-east-1", "us-east-1")
    variables = dict(zip(NAMES, values, strict=True))
    if options.json:
        print_json({"v": 1, "variables": variables})
    else:
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    return EXIT_OK
