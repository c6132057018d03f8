"""
Writes the parts of the documents that only the code knows, each between two comments that name it.

    python -m scripts.write_docs
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.described import PUBLIC_MODULES, as_markdown, describe_module
from scripts.markers import replace_between
from warmstate import errors
from warmstate.cli.client import VARIABLES
from warmstate.cli.problem import EXIT_CODES
from warmstate.cli.settings import documented
from warmstate.instance import hooks
from warmstate.lifecycle.environment import SETTINGS
from warmstate.lifecycle.machine import diagram

if TYPE_CHECKING:
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


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "lifecycle": ("architecture.md", lifecycle),
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
