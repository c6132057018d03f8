"""What the public names are, read from the code: signatures, the sections of docstrings, members of classes; as Markdown."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PUBLIC_MODULES", "Described", "as_markdown", "describe_module", "members"]

PUBLIC_MODULES = ("warmstate", "warmstate.http", "warmstate.testing", "warmstate.emulator")
"""Where users import from; errors have a table of their own."""

_MADE_FOR_USERS = frozenset(
    (
        "AsyncResource",
        "Buffer",
        "Context",
        "Environment",
        "Event",
        "Instance",
        "InvokeResult",
        "Journal",
        "Resource",
        "Result",
    )
) | {"Session", "State", "StateStore", "StatefulHandler", "Tail"}
"""Classes whose objects users get and never make, so the call says nothing."""

_NOT_FOR_USERS = {
    "Buffer": {
        "adopt", "age", "attach", "batch", "changed", "commit", "finished", "first_number", "flushed_ids", "is_due", "is_waiting", "leaving",
        "committed_items", "mark", "others_are_waiting", "present_range", "put_away", "rewind", "rollback", "skipped_ids", "staged",
    },
    "Context": {"read_caller"},
    "Environment": {"end", "remove", "serve", "start"},
    "Function": {"command", "init_limit", "variables"},
    "Platform": {"facts"},
    "State": {"commits", "initial"},
    "StateStore": {"bind_tenant", "close", "settle"},
    "Tail": {"commits"},
    "_Declaration": {"qualified_name"},
}  # fmt: skip
"""Members by class that warmstate itself calls."""

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$")


class Described(NamedTuple):
    """A public name: how it is called, what it is (paragraphs), its arguments or attributes, and what it raises."""

    name: str
    signature: str
    paragraphs: list[str]
    arguments: dict[str, str]
    raises: dict[str, str]

    @property
    def summary(self) -> str:
        """The first sentence of what it is."""
        return self.paragraphs[0] if self.paragraphs else ""


def describe_module(name: str) -> list[tuple[Described, list[Described]]]:
    """Every public name of a module with the members of those that are classes."""
    module = importlib.import_module(name)
    public: list[str] = module.__all__
    return [_described_name(module, word) for word in public if not word.isupper() and not _is_error(module, word)]


def _is_error(module: Any, name: str) -> bool:
    value = getattr(module, name)
    return isinstance(value, type) and issubclass(value, BaseException)


def _described_name(module: Any, name: str) -> tuple[Described, list[Described]]:
    value = getattr(module, name)
    if inspect.isclass(value) and value.__name__ == name:
        described = _described(name, value, value)
        described.arguments.update(_texts_below(ast.parse(inspect.getsource(value))))
        return described, list(members(value))
    if inspect.isroutine(value):
        return _described(name, value, value), []
    return Described(name, "", _paragraphs(_text_below(module, name)), {}, {}), []


def members(kind: type) -> Iterator[Described]:
    """The methods and properties of a class, those that only warmstate calls left out."""
    own = {name: value for base in reversed(kind.__mro__) if _is_ours(base) for name, value in vars(base).items()}
    hidden = set().union(*(_NOT_FOR_USERS.get(base.__name__, set()) for base in kind.__mro__))
    for name, value in own.items():
        if name.startswith("_") or name in hidden:
            continue
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if isinstance(value, property):
            yield _described(name, value, None)
        elif inspect.isroutine(function):
            yield _described(name, function, function)


def _is_ours(base: type) -> bool:
    return base.__module__.partition(".")[0] == "warmstate"


def as_markdown(described: Described, inside: list[Described], *, level: str = "####") -> str:
    """A section about a name: heading, paragraphs, arguments, members."""
    lines = [f"{level} `{described.name}{described.signature}`", "", *_joined(described.paragraphs)]
    lines += [f"- `{name}`: {text}" for name, text in described.arguments.items()]
    lines += [""] * bool(described.arguments)
    if described.raises:
        lines += ["Raises " + " ".join(f"`{name}`: {_small(text)}" for name, text in described.raises.items()), ""]
    if inside:
        lines += ["| member | what it does |", "|---|---|"]
        lines += [f"| `.{member.name}{member.signature}` | {_cell(member)} |" for member in inside]
        lines.append("")
    return "\n".join(lines)


def _cell(member: Described) -> str:
    said = " ".join([*member.paragraphs, *(f"`{name}`: {text}" for name, text in member.arguments.items())])
    if member.raises:
        said += " Raises " + " ".join(f"`{name}`: {_small(text)}" for name, text in member.raises.items())
    return said.replace("|", "\\|")


def _joined(paragraphs: list[str]) -> list[str]:
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]


def _described(name: str, documented: Any, called: Any) -> Described:
    text = inspect.getdoc(documented) or ""
    sections: dict[str, str] = {"": ""}
    current = ""
    for line in text.splitlines():
        found = _SECTION.match(line)
        if found:
            current = found[1]
            sections[current] = ""
        else:
            sections[current] += line + "\n"
    arguments = _entries(sections.get("Attributes", ""))
    signature = ""
    if called is not None and name not in _MADE_FOR_USERS:
        arguments |= _entries(sections.get("Args", ""))
        signature = _signature(called)
    return Described(name, signature, _paragraphs(sections[""]), arguments, _entries(sections.get("Raises", "")))


def _paragraphs(text: str) -> list[str]:
    """The text in paragraphs of one line each; indented ones are code and stay as they are."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if not paragraph.strip():
            continue
        if paragraph.startswith("    "):
            found.append("```\n" + inspect.cleandoc("\n" + paragraph) + "\n```")
        else:
            found.append(" ".join(paragraph.split()))
    return found


def _entries(text: str) -> dict[str, str]:
    """`name: what it is`, indented, with lines that go on indented further."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc("\n" + text).splitlines():
        start = re.match(r"([\w.]+): (.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def _signature(called: Any) -> str:
    """The call without annotations; defaults that are no plain values are shown as …"""
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except ValueError:
        return ""
    parts: list[str] = []
    starred = False
    for parameter in parameters:
        if parameter.name in {"self", "cls"} or parameter.name.startswith("_"):
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            starred = True
        elif parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        shown = str(parameter).partition(":")[0].partition("=")[0].strip()
        if parameter.default is not parameter.empty:
            shown += f"={_default(parameter.default)}"
        parts.append(shown)
    return f"({', '.join(parts)})"


def _default(value: object) -> str:
    if value is None or isinstance(value, (str, int, float, bool, bytes, tuple)):
        return repr(value).replace("'", '"')
    return "…"


def _text_below(module: Any, name: str) -> str:
    """The text under the assignment of a name that cannot carry a docstring, wherever the module has it from."""
    homes: dict[str, str] = getattr(module, "_HOMES", {})
    home = importlib.import_module(f"{module.__name__}.{homes[name]}") if name in homes else module
    return _texts_below(ast.parse(inspect.getsource(home))).get(name, "")


def _texts_below(tree: ast.AST) -> dict[str, str]:
    """The texts that stand under assignments to public names."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        body: list[ast.stmt] = getattr(node, "body", []) if isinstance(node, (ast.Module, ast.ClassDef, ast.If)) else []
        for statement, below in pairwise(body):
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                text = " ".join(str(below.value.value).split())
                found.update(
                    {name: text for name in _assigned(statement) if name == "__version__" or not name.startswith("_")}
                )
    return found


def _assigned(statement: ast.stmt) -> set[str]:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}
