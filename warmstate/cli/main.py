"""
The `warmstate` command.

Only argparse is imported here; a verb's module is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from warmstate.cli.arguments import build_parser
from warmstate.cli.dev_arguments import with_whole_debug
from warmstate.cli.problem import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    given = with_whole_debug(sys.argv[1:] if arguments is None else arguments)
    try:
        parser = build_parser()
        if not given:
            parser.print_help(sys.stderr)
            return EXIT_USAGE
        options, unknown = parser.parse_known_args(given)
        if unknown:
            options.parser.error(f"'{unknown[0]}' is nothing that it takes")
    except Problem as problem:
        problem.print(as_json="--json" in given)
        return problem.exit
    try:
        if options.directory:
            os.chdir(options.directory)
        module, function = options.run.split(":")
        code: int = getattr(import_module(f"warmstate.cli.{module}"), function)(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `warmstate logs | head` is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told in the one shape
        told = error if isinstance(error, Problem) else _as_problem(error)
        if options.verbose > 1:
            import traceback

            traceback.print_exception(error)
        told.print(as_json=bool(options.json))
        return told.exit


def _as_problem(error: Exception) -> Problem:
    """What nobody expected, in the shape of what was expected."""
    if isinstance(error, ConnectionError):
        what, fix = f"the connection to the emulator broke: {error}", "look at what warmstate dev says"
        return Problem("WS301", what, fix=fix, exit=EXIT_UNREACHABLE)
    if isinstance(error, OSError) and error.filename is not None:
        what, fix = f"cannot open {error.filename}", "name another one"
        return Problem("WS206", what, why=str(error.strerror), fix=fix, exit=EXIT_USAGE)
    what = f"a mistake of warmstate's own: {type(error).__name__}: {error}"
    return Problem("WS900", what, fix="tell its authors, with what the same command says with -vv", exit=EXIT_BUG)


if __name__ == "__main__":
    sys.exit(main())
