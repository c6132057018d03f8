"""What parses a command line: argparse, in our shape of errors, and without what makes it slow."""

from __future__ import annotations

import argparse
import os

from warmstate.cli.problem import EXIT_CODES, EXIT_USAGE, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["EPILOG", "Parser", "Version", "shared"]

EPILOG = f"""exit codes:
{"".join(f"  {code:<5}{text}" + chr(10) for code, text in EXIT_CODES.items())}
No telemetry, no account, no network: everything happens on this machine."""


class Version(argparse.Action):
    """Looks the version up only when it is asked for: that takes longer than all the rest of --help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and end."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            parser.exit(0, f"warmstate {version('warmstate')}\n")
        except PackageNotFoundError:
            parser.exit(0, "warmstate, not installed\n")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Asks for the terminal's width itself: argparse does it with shutil, which loads every archive format there is."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, width=_width(), **options)


def _width() -> int:
    try:
        return int(os.environ["COLUMNS"]) - 2
    except (KeyError, ValueError):
        pass
    try:
        return max(40, os.get_terminal_size().columns - 2)
    except OSError:
        return 78


class Parser(argparse.ArgumentParser):
    """Says what it cannot parse in the one shape of our errors."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Formatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Raise it as a Problem; a wrong verb with the nearest one."""
        what, fix = message, f"{self.prog} --help"
        if "argument VERB: invalid choice" in message:
            from difflib import get_close_matches

            wrong, *known = message.split("'")[1::2]
            near = get_close_matches(wrong, known or message.partition("choose from ")[2].strip(")").split(", "), 1)
            what = f"there is no verb '{wrong}'"
            fix = f"{self.prog} {near[0]}    or all of them: {fix}" if near else fix
        raise Problem("WS200", what, where=self.prog, fix=fix, exit=EXIT_USAGE)


def shared(*, before_verb: bool) -> Parser:
    """What every verb takes, before the verb as well as after it; there it only counts when it is given."""

    def default(value: object) -> object:
        return value if before_verb else argparse.SUPPRESS

    parser = Parser(add_help=False)
    group = parser.add_argument_group("for every verb")
    add = group.add_argument
    add("-C", dest="directory", metavar="DIR", default=default(None), help="run as if started in DIR")
    file = "read [tool.warmstate] from FILE instead of this folder's pyproject.toml"
    add("--config", metavar="FILE", default=default(None), help=file)
    which = "the emulator to talk to (default: the one that runs in this folder)"
    add("--endpoint", metavar="URL", default=default(None), help=which)
    add("--json", action="store_true", default=default(value=False), help="answer in JSON, one object a line")
    silent = "only the answer, nothing beside it"
    add("-q", "--quiet", action="store_true", default=default(value=False), help=silent)
    more = "every request to the emulator, every event of dev; -vv: where an error comes from"
    add("-v", "--verbose", action="count", default=default(0), help=more)
    add("-y", "--no-interactive", action="store_true", default=default(value=False), help="ask nothing, take no keys")
    choices = ["auto", "always", "never"]
    add("--color", choices=choices, default=default("auto"), help="colours (default: on a terminal)")
    long = "progress of long work (default: on a terminal)"
    add("--progress", choices=["auto", "never"], default=default("auto"), help=long)
    return parser
