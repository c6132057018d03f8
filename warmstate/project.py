"""What a project's folder says about its functions: `[tool.warmstate]` in its pyproject.toml, and the handlers in its modules."""

from __future__ import annotations

import ast
import difflib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from warmstate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FUNCTION_KEYS", "KEYS", "find_handlers", "read_configuration", "why_broken"]

FILES_MOST: Final = 500
"""Files that are read to find a handler."""

FUNCTION_KEYS: Final = {
    "handler": "`module.Class` or `module.function`",
    "memory": "MB",
    "tmp": "MB of `/tmp`",
    "timeout": "seconds",
    "max_instances": "instances at once",
    "url": '"buffered" or "stream"',
    "env": "a table of variables",
    "env_file": "a file of variables",
}
"""What `[tool.warmstate.functions.NAME]` may say."""

KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    "": {
        "default": "the function that is meant where none is named",
        "port": "where `dev` listens",
        "functions": "one table for each function",
        "dev": "a table of options of `dev`",
    },
    "dev": {
        "reload": '"keep", "fresh" or "off"',
        "watch": "a list of further paths",
        "idle": 'seconds, or "6m"',
        "max_age": 'seconds, or "1h"',
        "strategy": '"aws", "round-robin" or "newest"',
    },
}
"""What `[tool.warmstate]` and `[tool.warmstate.dev]` may say."""


def read_configuration(folder: str, file: str | None = None) -> dict[str, Any]:
    """
    `[tool.warmstate]` of the pyproject.toml in `folder`, empty where there is none; or of `file`, which must be there.

    Raises:
        ConfigurationError: It is no TOML, says something unknown, or `file` cannot be read.
    """
    path = os.path.join(folder, file or "pyproject.toml")
    try:
        with open(path, "rb") as opened:
            text = opened.read().decode()
    except OSError as error:
        if file is not None:
            raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror}.") from None
        return {}
    if "[tool.warmstate" not in text:
        return {}
    toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        found: dict[str, Any] = toml.loads(text)["tool"]["warmstate"]
    except ValueError as error:
        raise ConfigurationError(f"{path} is no TOML: {error}.") from None
    _check(path, "tool.warmstate", found, KEYS[""])
    _check(path, "tool.warmstate.dev", found.get("dev", {}), KEYS["dev"])
    for name, function in found.get("functions", {}).items():
        _check(path, f"tool.warmstate.functions.{name}", function, FUNCTION_KEYS)
    names, default = list(found.get("functions", {})), found.get("default")
    if names and default is not None and default not in names:
        raise ConfigurationError(
            f"[tool.warmstate] in {path} has the default {default!r}, which is none of its functions: {', '.join(names)}."
        )
    return found


def _check(path: str, table: str, found: Any, known: Mapping[str, str]) -> None:
    if not hasattr(found, "keys"):
        raise ConfigurationError(f"{table} in {path} is no table; write [{table}].")
    for key in map(str, found):
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            advice = f"did you mean {near[0]}?" if near else f"it may have: {', '.join(known)}."
            raise ConfigurationError(f"[{table}] in {path} has the unknown key '{key}'; {advice}")


def find_handlers(folder: str) -> list[str]:
    """The subclasses of StatefulHandler in a folder's own modules, found by reading them, without importing any."""
    found = list[str]()
    for name in sorted(os.listdir(folder))[:FILES_MOST]:
        module, extension = os.path.splitext(name)
        if extension != ".py" or not module.isidentifier():
            continue
        try:
            with open(os.path.join(folder, name), "rb") as file:
                tree = ast.parse(file.read())
        except (OSError, SyntaxError, ValueError):
            continue
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        found += [f"{module}.{node.name}" for node in classes if any(_is_stateful(base) for base in node.bases)]
    return found


def why_broken(path: str) -> str | None:
    """Why a file of Python cannot be compiled; None where it can, and for files of another kind."""
    if not path.endswith(".py"):
        return None
    try:
        with open(path, "rb") as file:
            compile(file.read(), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    except OSError:
        pass  # it is gone, or nobody may read it: whoever imports it is told
    return None


def _is_stateful(base: ast.expr) -> bool:
    return (base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")) == "StatefulHandler"
