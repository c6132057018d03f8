"""The functions that `warmstate dev` serves: from its options, or found in the folder."""

from __future__ import annotations

import json
import os
import re
import shlex
from typing import TYPE_CHECKING, Any

from warmstate.cli.problem import EXIT_USAGE, Problem
from warmstate.errors import ConfigurationError
from warmstate.project import find_handlers

if TYPE_CHECKING:
    import argparse

    from warmstate.emulator import Function

__all__ = ["functions_from"]


def functions_from(options: argparse.Namespace) -> list[Function]:
    """
    The functions that the command line describes, or the only one that this folder has.

    Raises:
        Problem: They cannot be any.
    """
    handlers: list[str] = options.handler or [_only_handler()]
    if options.name and len(handlers) > 1:
        raise Problem("WS213", "--name is for one function", fix="leave it out, or start one handler", exit=EXIT_USAGE)
    functions = [_function(options, handler) for handler in handlers]
    if len({function.name for function in functions}) < len(functions):
        raise Problem("WS213", "two of these handlers would have the same name", exit=EXIT_USAGE)
    return functions


def _only_handler() -> str:
    found = find_handlers(os.getcwd())
    if len(found) != 1:
        what = "which handler?" if found else "there is no handler in this folder"
        why = f"found {', '.join(found)}" if found else "no class here has StatefulHandler as its base"
        raise Problem("WS214", what, where=os.getcwd(), why=why, fix="warmstate dev app.Handler", exit=EXIT_USAGE)
    return found[0]


def _function(options: argparse.Namespace, named: str) -> Function:
    try:
        from warmstate.emulator import Function
    except ModuleNotFoundError as error:
        why = f"the package {error.name} is missing"
        raise Problem(
            "WS208", "the emulator is not installed", why=why, fix="pip install 'warmstate[emulator]'", exit=EXIT_USAGE
        ) from None
    handler = named.replace(":", ".")
    if "." not in handler:
        fix = "write module.Class or module.function, for example app.Handler"
        raise Problem("WS209", f"'{named}' names no handler", fix=fix, exit=EXIT_USAGE)
    name = options.name or re.sub(r"[^A-Za-z0-9_-]", "-", handler.replace("/", ".").split(".")[-1]).lower()
    try:
        return Function(
            name=name,
            handler=handler,
            task_root=os.getcwd(),
            environment=_variables(options, name),
            memory_mb=options.memory,
            tmp_mb=options.tmp,
            timeout=options.timeout,
            idle_timeout=options.idle or None,
            max_instances=options.max_instances,
            max_concurrency=options.max_concurrency,
            provisioned=options.provisioned,
            strategy=options.strategy,
            freeze=options.freeze == "auto",
            snap_start=options.snap_start,
            tenant_isolation=options.tenant_isolation,
            stream_limit=options.stream_limit,
            url_mode="RESPONSE_STREAM" if options.url_mode == "stream" else "BUFFERED",
            runtime=shlex.split(options.runtime) if options.runtime else None,
            inspect=True,
        )
    except ConfigurationError as error:
        raise Problem("WS207", str(error), exit=EXIT_USAGE) from None


def _variables(options: argparse.Namespace, name: str) -> dict[str, str]:
    lines = [f"{key}={value}" for key, value in _sam_variables(options.env_vars, name).items()]
    if options.env_file:
        with open(options.env_file, encoding="utf-8") as file:
            lines += [line.strip().removeprefix("export ") for line in file]
    lines += options.env_var
    # Between two edits the code is another one each time: state must not belong to the code that wrote it.
    variables = {"WARMSTATE_ADOPT": "any-code"} if options.reload == "keep" else {}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise Problem("WS210", f"'{line}' is no variable", fix="write NAME=VALUE", exit=EXIT_USAGE)
        variables[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return variables


def _sam_variables(path: str | None, name: str) -> dict[str, Any]:
    """What a file as SAM's --env-vars reads it has for a function: {"Parameters": {...}, "NAME": {...}}."""
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found: dict[str, dict[str, Any]] = json.load(file)
        return {**found.get("Parameters", {}), **found.get(name, {})}
    except (ValueError, AttributeError, TypeError) as error:
        what, fix = f"{path} is no file of variables", 'write {"Parameters": {"NAME": "VALUE"}}'
        raise Problem("WS210", what, why=str(error), fix=fix, exit=EXIT_USAGE) from None
