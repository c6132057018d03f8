"""
Writes the parts of the documents that only the code knows, each between two comments that name it.

    python -m scripts.write_docs
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, cast

from scripts.described import PUBLIC_MODULES, as_markdown, describe_module
from scripts.markers import replace_between
from warmstate import errors
from warmstate.cli.arguments import build_parser
from warmstate.cli.client import VARIABLES
from warmstate.cli.parsing import shared
from warmstate.cli.problem import EXIT_CODES
from warmstate.cli.settings import documented
from warmstate.instance import hooks
from warmstate.lifecycle.environment import SETTINGS
from warmstate.lifecycle.machine import diagram

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser
    from collections.abc import Callable, Mapping

DOCS = Path(__file__).parents[1] / "docs"

BOOTSTRAP_VARIABLES = {
    "WARMSTATE_PYTHON": "interpreter that `bootstrap` starts; default: one in the function or a layer, else `python3` on PATH",
    "WARMSTATE_NEXT_WRAPPER": "another vendor's wrapper script, which `bootstrap` lets go first; default none",
}
"""What the shell script reads."""


def lifecycle() -> str:
    """The transition table as a diagram."""
    return f"```mermaid\n{diagram()}```"


def names() -> str:
    """Every public name."""
    parts: list[str] = []
    for module in PUBLIC_MODULES:
        parts.append(f"### {module}\n")
        parts += [as_markdown(described, inside) for described, inside in describe_module(module)]
    return "\n".join(parts)


def variables() -> str:
    """Every variable of ours, with who reads it."""
    lines = ["| variable | read by | meaning | default |", "|---|---|---|---|"]
    groups: dict[str, Mapping[str, str]] = {
        "runtime": SETTINGS,
        "bootstrap": BOOTSTRAP_VARIABLES,
        "command line": {**VARIABLES, **documented()},
    }
    for reader, settings in groups.items():
        for name, text in settings.items():
            meaning, _, default = text.partition("; default")
            lines.append(f"| `{name}` | {reader} | {meaning} | {default.lstrip(': ') or 'none'} |")
    return "\n".join(lines)


def error_table() -> str:
    """Every error class with what callers see, what happened, and what to do."""
    lines = ["| error | `errorType` | raised when | what to do |", "|---|---|---|---|"]
    for name in errors.__all__:
        kind = getattr(errors, name)
        what, _, remedy = (inspect.getdoc(kind) or "").partition("\n\n")
        lines.append(
            f"| `{name}` | `{kind.wire_type}` | {_line(what).removeprefix('Raised when ').removeprefix('Raised ')} | {_line(remedy)} |"
        )
    return "\n".join(lines)


def exit_codes() -> str:
    """What the command line ends with."""
    return "\n".join(
        ["| code | meaning |", "|---|---|", *(f"| {code} | {text} |" for code, text in EXIT_CODES.items())]
    )


def options() -> str:
    """What each verb takes, from its parser; what all of them take stands in the text."""
    every = {name for action in _actions(shared(before_verb=True)) for name in action.option_strings} | {"-h", "--help"}
    chosen = next(action for action in _actions(build_parser()) if action.dest == "verb")
    verbs: dict[tuple[str, str], list[str]] = {}
    for verb, parser in cast("dict[str, ArgumentParser]", chosen.choices).items():
        if verb != parser.get_default("verb"):
            continue  # an alias
        for action in _actions(parser):
            if not every.issuperset(action.option_strings):
                value = f" {_value(action)}" if action.nargs != 0 else ""
                text = ", ".join(f"`{name}{value}`" for name in action.option_strings)
                verbs.setdefault((_line(text), _line(action.help or "")), []).append(f"`{verb}`")
    rows = [f"| {', '.join(names)} | {text} | {meaning} |" for (text, meaning), names in verbs.items()]
    return "\n".join(["| verb | option | what it does |", "|---|---|---|", *rows])


def _actions(parser: ArgumentParser) -> list[Action]:
    return parser._actions  # noqa: SLF001 - argparse has no public way to ask


def _value(action: Action) -> str:
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return str(action.metavar or action.dest.upper())


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "lifecycle": ("architecture.md", lifecycle),
    "options": ("command-line.md", options),
    "exit codes": ("command-line.md", exit_codes),
    "hooks": ("reference.md", hooks.as_markdown),
    "variables": ("reference.md", variables),
    "errors": ("reference.md", error_table),
    "names": ("reference.md", names),
}
"""Each part: the document it stands in, and what makes it."""


def main() -> None:
    """Write what differs."""
    for name, (document, make) in PARTS.items():
        path = DOCS / document
        written = path.read_text()
        made = replace_between(written, name, make())
        if made != written:
            path.write_text(made)
            print(f"wrote {document}: {name}")


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
