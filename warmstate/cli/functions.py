"""The functions that `warmstate dev` serves: from its options, a SAM template, pyproject.toml, or found in the folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from shutil import which
from typing import TYPE_CHECKING, Any, cast

from warmstate.cli.problem import EXIT_USAGE, Problem
from warmstate.cli.settings import OF_FUNCTIONS, limit_of
from warmstate.errors import ConfigurationError
from warmstate.project import find_handlers, why_broken

if TYPE_CHECKING:
    import argparse

    from warmstate.emulator import Function

__all__ = ["functions_from"]

LONGEST_ON_LAMBDA = 900.0
LONGEST = 86_400.0
"""Seconds that a function under a debugger may take: nobody thinks that fast."""


def functions_from(options: argparse.Namespace, configuration: dict[str, Any]) -> list[Function]:
    """
    The functions that the command line describes, or the only one that this folder has.

    Raises:
        Problem: They cannot be any.
    """
    _check_together(options)
    if options.attached:
        options.wait, options.reload = True, "off"
    found = _from_template(options) if options.template else _from_project(options, configuration)
    if options.name and len(found) > 1:
        raise Problem("WS213", "--name is for one function", fix="leave it out, or start one handler", exit=EXIT_USAGE)
    functions = [_function(options, about) for about in found]
    names = [function.name for function in functions]
    for name in names:
        if names.count(name) > 1:
            what = f"two of these handlers would have the name {name}"
            fix = "start one of them with --name in another folder, or name them in [tool.warmstate.functions]"
            raise Problem("WS213", what, fix=fix, exit=EXIT_USAGE)
    return functions


def _check_together(options: argparse.Namespace) -> None:
    """Refuse what says nothing, or two things at once."""
    ahead = "--provisioned" if options.provisioned else "--snap-start" if options.snap_start else ""
    contradictions = {
        "--chaos-seed is for --chaos P": options.chaos_seed is not None and not options.chaos,
        f"--wait does not go with {ahead}, which starts instances before any event": options.wait and ahead,
        "--debug does not go with --only-lambda-apis, which starts nothing": options.debug and options.attached,
        "--parameter-overrides is for -t TEMPLATE": options.parameter_overrides and not options.template,
    }
    for what, is_so in contradictions.items():
        if is_so:
            raise Problem("WS203", what, fix="leave one out, or add what is missing", exit=EXIT_USAGE)
    for path in options.watch:
        if not os.path.exists(path):
            fix = "make it first, or leave it out"
            raise Problem("WS203", f"there is no {path} to watch", where=os.getcwd(), fix=fix, exit=EXIT_USAGE)
    for word in options.parameter_overrides:
        if "=" not in word:
            fix = "write NAME=VALUE; handlers stand before --parameter-overrides"
            raise Problem("WS203", f"'{word}' is no value of a parameter", fix=fix, exit=EXIT_USAGE)


def _from_template(options: argparse.Namespace) -> list[dict[str, Any]]:
    from warmstate.cli.output import note
    from warmstate.cli.template import functions_of

    overrides = dict(word.partition("=")[::2] for word in options.parameter_overrides)
    found, unknown = functions_of(options.template, overrides)
    for text in unknown:
        note(options, f"left out: {text}; --env-var or --parameter-overrides can give it")
    names = [about["name"] for about in found]
    missing = [name for name in options.handler if name not in names]
    if missing:
        what, fix = f"the template has no function {missing[0]}", f"one of: {', '.join(names)}"
        raise Problem("WS214", what, where=options.template, fix=fix, exit=EXIT_USAGE)
    return [about for about in found if not options.handler or about["name"] in options.handler]


def _from_project(options: argparse.Namespace, configuration: dict[str, Any]) -> list[dict[str, Any]]:
    tables = cast("dict[str, dict[str, Any]]", configuration.get("functions", {}))
    known = [{"name": name, **table} for name, table in tables.items()]
    for about in known:
        _check_table(about)
        if "handler" not in about:
            where = f"[tool.warmstate.functions.{about['name']}]"
            raise Problem("WS216", "a function needs its handler", where=where, fix='handler = "app.Handler"', exit=2)
    if not options.handler:
        return known or [{"handler": _only_handler()}]
    by_word = {about[key]: about for key in ("handler", "name") for about in known}
    return [by_word.get(word.replace(":", "."), by_word.get(word, {"handler": word})) for word in options.handler]


def _check_table(about: dict[str, Any]) -> None:
    """What `handler`, `env` and `env_file` of a function's own table have to be."""
    for key, kind, words, fix in (
        ("handler", str, "a text", 'handler = "app.Handler"'),
        ("env_file", str, "a text", 'env_file = ".env"'),
        ("env", dict, "a table", 'env = { NAME = "VALUE" }'),
    ):
        if not isinstance(about.get(key, kind()), kind):
            where = f"[tool.warmstate.functions.{about['name']}]"
            raise Problem("WS216", f"{key} has to be {words}", where=where, fix=fix, exit=EXIT_USAGE)


def _only_handler() -> str:
    found = find_handlers(os.getcwd())
    if len(found) != 1:
        what = "which handler?" if found else "there is no handler in this folder"
        why = f"found {', '.join(found)}" if found else _why_none()
        fix = f"warmstate dev {' '.join(found) if found else 'app.Handler'}"
        raise Problem("WS214", what, where=os.getcwd(), why=why, fix=fix, exit=EXIT_USAGE)
    return found[0]


def _why_none() -> str:
    """What is in the way of finding a handler in this folder."""
    for name in sorted(os.listdir()):
        why = why_broken(name)
        if why is not None:
            return f"{name} does not compile: {why}"
    return "no class here has StatefulHandler as its base"


def _function(options: argparse.Namespace, about: dict[str, Any]) -> Function:
    try:
        from warmstate.emulator import Function
    except ModuleNotFoundError as error:
        why = f"the package {error.name} is missing"
        raise Problem(
            "WS208", "the emulator is not installed", why=why, fix="pip install 'warmstate[emulator]'", exit=EXIT_USAGE
        ) from None
    handler = about["handler"].replace(":", ".")
    folder = os.path.abspath(about.get("folder", "."))
    if "." not in handler or handler.endswith(".py"):
        module = os.path.basename(handler).removesuffix(".py")
        near = [found for found in find_handlers(folder) if found.startswith(f"{module}.")]
        fix = f"warmstate dev {near[0] if near else f'{module}.Handler'}    (module.Class or module.function)"
        raise Problem("WS209", f"'{handler}' names no handler", where=folder, fix=fix, exit=EXIT_USAGE)
    if options.debug and len(options.handler) > 1:
        raise Problem("WS213", "--debug is for one function", fix="start one handler", exit=EXIT_USAGE)
    if options.runtime is None and not options.attached:
        _check_module(folder, handler)
    last = re.sub(r"[^A-Za-z0-9_-]", "-", handler.replace("/", ".").split(".")[-1]).lower()
    name = options.name or about.get("name") or last
    limits = {
        setting.option: limit_of(setting, getattr(options, setting.option), {**about, "name": name})
        for setting in OF_FUNCTIONS
    }
    if limits["timeout"] > LONGEST_ON_LAMBDA:
        what, fix = f"a timeout of {limits['timeout']:g} s for {name}", f"{LONGEST_ON_LAMBDA:g} s is the most on Lambda"
        raise Problem("WS207", what, fix=fix, exit=EXIT_USAGE)
    try:
        return Function(
            name=name,
            handler=handler,
            task_root=folder,
            environment=_variables(options, name, about),
            memory_mb=limits["memory"],
            tmp_mb=limits["tmp"],
            timeout=LONGEST if options.debug else limits["timeout"],
            init_timeout=LONGEST if options.debug else 10.0,
            idle_timeout=None if options.debug else options.idle or None,
            max_age=None if options.debug else options.max_age or None,
            chaos=options.chaos,
            chaos_seed=options.chaos_seed,
            max_instances=1 if options.debug else limits["max_instances"],
            max_concurrency=options.max_concurrency,
            provisioned=options.provisioned,
            strategy=options.strategy,
            freeze=options.freeze == "auto" and not options.debug,
            snap_start=options.snap_start,
            tenant_isolation=options.tenant_isolation,
            stream_limit=options.stream_limit,
            url_mode="RESPONSE_STREAM" if limits["url"] == "stream" else "BUFFERED",
            runtime=_runtime(options, folder),
            attached=options.attached,
            inspect=True,
        )
    except (ConfigurationError, TypeError) as error:
        raise Problem("WS207", str(error), fix="warmstate dev --help", exit=EXIT_USAGE) from None


def _runtime(options: argparse.Namespace, folder: str) -> list[str] | None:
    """The command that speaks the Runtime API, where it is not the default one; found as a shell in `folder` would."""
    words = shlex.split(options.runtime or "")
    if words and not options.debug:
        program = which(os.path.join(folder, words[0]) if "/" in words[0] else words[0])
        if program is None:
            what, fix = f"there is no program {words[0]}", "install it, or write --runtime with its path"
            raise Problem("WS207", what, where=folder, fix=fix, exit=EXIT_USAGE)
        return [program, *words[1:]]
    if not options.debug:
        return None
    if not _is_installed("debugpy"):
        fix = f"{sys.executable} -m pip install debugpy"
        raise Problem("WS218", "--debug needs debugpy, which is not installed", fix=fix, exit=EXIT_USAGE)
    wait = [sys.executable, "-m", "debugpy", "--listen", f"127.0.0.1:{options.debug}", "--wait-for-client"]
    return [*wait, "-c", "from warmstate.hosts.runtime import main; main()"]


def _check_module(folder: str, handler: str) -> None:
    """A module that is nowhere is told before anything starts, with what there is in its place."""
    first = re.split(r"[./]", handler)[0]
    bootstrap = os.path.join(folder, "bootstrap")
    if os.path.exists(bootstrap) or os.path.isdir(os.path.join(folder, first)):
        return
    if os.path.exists(os.path.join(folder, f"{first}.py")) or _is_installed(first):
        return
    near = find_handlers(folder) if os.path.isdir(folder) else []
    fix = f"warmstate dev {near[0]}" if near else "change to its folder, or name it with -C DIR"
    raise Problem("WS217", f"there is no module {first}", where=folder, fix=fix, exit=EXIT_USAGE)


def _is_installed(module: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _variables(options: argparse.Namespace, name: str, about: dict[str, Any]) -> dict[str, str]:
    lines = [f"{key}={value}" for key, value in about.get("env", {}).items()]
    for path in (about.get("env_file"), options.env_file):
        if path:
            with open(path, encoding="utf-8") as file:
                lines += [line.strip().removeprefix("export ") for line in file]
    lines += [f"{key}={value}" for key, value in _sam_variables(options.env_vars, name).items()]
    lines += options.env_var
    # Between two edits the code is another one each time: state must not belong to the code that wrote it.
    variables = {} if options.reload == "off" else {"WARMSTATE_ADOPT": "any-code"}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise Problem("WS210", f"'{line}' is no variable", fix="write NAME=VALUE", exit=EXIT_USAGE)
        variables[key] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
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
