"""
What `warmstate dev` can be told in several places: the command line, then variables of its own, then
`[tool.warmstate]` or a function's own table, then a default.
"""

from __future__ import annotations

import difflib
import os
import re
from typing import TYPE_CHECKING, Any, cast

import attrs

from warmstate.cli.problem import EXIT_USAGE, Problem
from warmstate.errors import ConfigurationError
from warmstate.project import read_configuration

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

__all__ = ["OF_FUNCTIONS", "configured", "documented", "limit_of", "seconds", "settle"]

_PREFIX = "WARMSTATE_" + "DEV_"


def seconds(value: object, name: str) -> float:
    """
    A time as people write it: 90, "90", "90s", "6m", "1h".

    Raises:
        ValueError: It is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", str(value).strip())
    if found is None:
        raise ValueError(f"{name} '{value}' is no time; write 90, 90s, 6m or 1h".strip())
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
        raise ValueError(f"{name} '{value}' is no whole number")
    return int(str(value))


def _number(value: object, name: str) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise ValueError(f"{name} '{value}' is no number") from None


def _one_of(*words: str) -> Callable[[object, str], str]:
    def read(value: object, name: str) -> str:
        if value not in words:
            raise ValueError(f"{name} '{value}' is not possible; write {' or '.join(words)}")
        return str(value)

    return read


def _words(value: object, name: str) -> list[str]:
    if isinstance(value, str):
        return value.split(os.pathsep)
    words = [word for word in cast("list[object]", value) if isinstance(word, str)] if isinstance(value, list) else []
    if words != value:
        raise ValueError(f"{name} '{value}' is no list of paths")
    return words


@attrs.frozen
class _Setting:
    """One of them: its name as an option, how its value is read, what it is where nobody says."""

    option: str
    read: Callable[[object, str], Any]
    default: Any
    meaning: str
    variable: str


OF_DEV = (
    _Setting("invoke_port", _whole, 9000, "port of `dev`", "WARMSTATE_DEV_PORT"),
    _Setting("reload", _one_of("keep", "fresh", "off"), "keep", "its `--reload`", "WARMSTATE_DEV_RELOAD"),
    _Setting("watch", _words, [], "further paths that it watches, with colons between", "WARMSTATE_DEV_WATCH"),
    _Setting("idle", seconds, 360.0, "its `--idle`", "WARMSTATE_DEV_IDLE"),
    _Setting("max_age", seconds, 0.0, "its `--max-age`, 0 for never", "WARMSTATE_DEV_MAX_AGE"),
    _Setting("strategy", _one_of("aws", "round-robin", "newest"), "aws", "its `--strategy`", "WARMSTATE_DEV_STRATEGY"),
)
"""For the emulator as a whole."""
OF_FUNCTIONS = (
    _Setting("memory", _whole, 1024, "MB of memory of each function of `dev`", "WARMSTATE_DEV_MEMORY"),
    _Setting("tmp", _whole, 512, "MB of its `/tmp`", "WARMSTATE_DEV_TMP"),
    _Setting("timeout", _number, 30.0, "seconds for one invocation", "WARMSTATE_DEV_TIMEOUT"),
    _Setting("max_instances", _whole, 10, "instances of it at once", "WARMSTATE_DEV_MAX_INSTANCES"),
    _Setting("url", _one_of("buffered", "stream"), "buffered", "how its URL answers", "WARMSTATE_DEV_URL"),
)
"""For each function, whose own table in pyproject.toml, or in a template, comes after the variable."""


def documented() -> dict[str, str]:
    """Each variable with its meaning and its default, as the reference has them."""
    found: dict[str, str] = {}
    for setting in (*OF_DEV, *OF_FUNCTIONS):
        default = "none" if setting.default in ([], 0.0) else str(setting.default).removesuffix(".0")
        found[setting.variable] = f"{setting.meaning}; default {default}"
    return found


def settle(options: argparse.Namespace, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """
    Fill in the options that were not given; returns `[tool.warmstate]`.

    Raises:
        Problem: One of the places says something unknown, or something that cannot be.
    """
    variables = os.environ if environment is None else environment
    _check(variables)
    configuration = configured(options)
    of_dev = {"invoke_port": configuration.get("port"), **configuration.get("dev", {})}
    for setting in OF_DEV:
        if getattr(options, setting.option) is None:
            in_file = of_dev.get(setting.option)
            value = _from_variable(setting, variables)
            if value is None and in_file is not None:
                value = _read(setting, in_file, f"{setting.option.removeprefix('invoke_')} in [tool.warmstate]")
            setattr(options, setting.option, setting.default if value is None else value)
    for setting in OF_FUNCTIONS:
        if getattr(options, setting.option) is None:
            setattr(options, setting.option, _from_variable(setting, variables))
    return configuration


def limit_of(setting: _Setting, given: Any, table: Mapping[str, Any]) -> Any:
    """A function's limit: what the command line or a variable said, else its table, else the default."""
    if given is not None:
        return given
    if setting.option in table:
        return _read(setting, table[setting.option], f"{setting.option} of {table.get('name', 'the function')}")
    return setting.default


def configured(options: argparse.Namespace) -> dict[str, Any]:
    """`[tool.warmstate]` of --config, or of this folder."""
    try:
        return read_configuration(os.getcwd(), options.config)
    except ConfigurationError as error:
        raise Problem("WS216", str(error), fix="mend it; warmstate doctor reads it again", exit=EXIT_USAGE) from None


def _check(variables: Mapping[str, str]) -> None:
    known = [setting.variable for setting in (*OF_DEV, *OF_FUNCTIONS)]
    for name in variables:
        if name.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1) or known
            raise Problem("WS216", f"there is no variable {name}", fix=f"did you mean {near[0]}?", exit=EXIT_USAGE)


def _from_variable(setting: _Setting, variables: Mapping[str, str]) -> Any:
    text = variables.get(setting.variable)
    return _read(setting, text, setting.variable) if text else None


def _read(setting: _Setting, value: object, name: str) -> Any:
    try:
        return setting.read(value, name)
    except ValueError as error:
        raise Problem("WS216", str(error), fix="mend it; warmstate doctor reads it again", exit=EXIT_USAGE) from None
