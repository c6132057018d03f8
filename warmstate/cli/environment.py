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


def env(options: argparse.Namespace) -> int:
    """Print shell exports; the access key id carries the emulator's token, where it has one."""
    endpoint = find_endpoint(options)
    variables = {
        "AWS_ENDPOINT_URL_LAMBDA": endpoint.url,
        "AWS_ACCESS_KEY_ID": endpoint.token or "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    if options.json:
        print_json({"v": 1, "variables": variables})
    elif options.unset:
        print("unset " + " ".join(variables))
    else:
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    return EXIT_OK
