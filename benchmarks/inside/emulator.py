"""
warmstate's emulator with one function whose runtime is the command after `--`, until the input ends.

    python -m benchmarks.inside.emulator FREEZE HANDLER -- COMMAND [ARGUMENT ...]

Prints the address that invokes it. The function's variables are those that this process has beside Lambda's own.
"""

from __future__ import annotations

import os
import sys

from benchmarks.peers import LAMBDA
from benchmarks.places import HANDLERS
from warmstate.emulator import Emulator, Function
from warmstate.emulator.function import RESERVED

NAME = "echo"


def main() -> None:
    """Serve."""
    freeze, handler, _, *command = sys.argv[1:]
    variables = {
        name: os.environ[name]
        for name in {*LAMBDA, "AWS_EXECUTION_ENV"} & set(os.environ)
        if name not in {*RESERVED, "_HANDLER", "AWS_REGION"}
    }
    function = Function(
        name=NAME, handler=handler, task_root=HANDLERS, runtime=command, environment=variables, freeze=freeze == "1"
    )
    with Emulator(functions=[function]) as emulator:
        print(f"{emulator.url}/2015-03-31/functions/{NAME}/invocations", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
