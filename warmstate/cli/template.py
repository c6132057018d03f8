"""The functions of a SAM template: what `warmstate dev -t template.yaml` serves. The only module that knows YAML."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from warmstate.cli.problem import EXIT_USAGE, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["functions_of"]

KIND = "AWS::Serverless::Function"
FIX = f"-t takes a SAM template in YAML with an {KIND} and its Handler"
PSEUDO = {
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "local",
}


class _Unknown(Exception):
    """A value that only a deployed stack has."""


def functions_of(path: str, overrides: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[str]]:
    """
    What a template says of each function, in the words of `[tool.warmstate.functions]`, and what of it is not known here.

    `overrides` are values of parameters. A `folder` is where the function's code is.

    Raises:
        Problem: It cannot be read, or has no function.
    """
    template = _read(path)
    parameters, resources = _table(template.get("Parameters")), _table(template.get("Resources"))
    known = {name: about["Default"] for name, about in parameters.items() if "Default" in _table(about)}
    resolver = _Resolver({**PSEUDO, **{name: name for name in resources}, **known, **overrides})
    shared = _table(_table(template.get("Globals")).get("Function"))
    found = [
        _described(path, name, _over(shared, _table(resource.get("Properties"))), resolver)
        for name, resource in resources.items()
        if _table(resource).get("Type") == KIND
    ]
    if not found:
        why = f"no resource is a {KIND}"
        raise Problem("WS215", "the template has no function", where=path, why=why, fix=FIX, exit=EXIT_USAGE)
    return found, resolver.unknown


def _read(path: str) -> dict[str, Any]:
    try:
        import yaml
    except ModuleNotFoundError:
        fix = "pip install 'warmstate[emulator]'"
        raise Problem("WS208", "templates need the package pyyaml", fix=fix, exit=EXIT_USAGE) from None

    safe: Any = yaml.SafeLoader
    loader: Any = type("Loader", (safe,), {})  # of its own, as it learns CloudFormation's short forms

    def short_form(loader: Any, word: str, node: Any) -> dict[str, Any]:
        """`!Ref Name` as its long form."""
        read = {"scalar": loader.construct_scalar, "sequence": loader.construct_sequence}.get(node.id)
        value = loader.construct_mapping(node, deep=True) if read is None else read(node)
        return {word if word in {"Ref", "Condition"} else f"Fn::{word}": value}

    loader.add_multi_constructor("!", short_form)
    try:
        with open(path, "rb") as file:
            found = yaml.load(file, loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        why = str(error.strerror)
        raise Problem("WS215", "cannot read the template", where=path, why=why, fix=FIX, exit=EXIT_USAGE) from None
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise Problem("WS215", "the template is no YAML", where=path, why=why, fix=FIX, exit=EXIT_USAGE) from None
    if not hasattr(found, "keys"):
        raise Problem("WS215", "the template is no table of resources", where=path, fix=FIX, exit=EXIT_USAGE)
    return dict(found)


def _table(value: Any) -> dict[str, Any]:
    """The value as a table, which is empty where it is none."""
    return dict(value) if hasattr(value, "keys") else {}


def _over(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A function's properties over those of Globals; tables are merged."""
    merged = {**shared, **own}
    for name, value in shared.items():
        if _table(value) and _table(own.get(name)):
            merged[name] = _over(_table(value), _table(own[name]))
    return merged


def _described(path: str, name: str, properties: dict[str, Any], resolver: _Resolver) -> dict[str, Any]:
    def value(*keys: str) -> Any:
        inner: Any = properties
        for key in keys:
            inner = _table(inner).get(key)
        return None if inner is None else resolver.value(f"{name}.{'.'.join(keys)}", inner)

    variables = _table(_table(properties.get("Environment")).get("Variables"))
    environment = {key: resolver.value(f"{name}: the variable {key}", inner) for key, inner in variables.items()}
    handler = value("Handler")
    if not handler:
        why = "only functions with a Handler run here, no images"
        raise Problem("WS215", f"{name} has no Handler", where=path, why=why, fix=FIX, exit=EXIT_USAGE)
    found = {
        "name": value("FunctionName") or name,
        "handler": handler,
        "folder": os.path.join(os.path.dirname(os.path.abspath(path)), value("CodeUri") or "."),
        "memory": _number(value("MemorySize")) or 128,
        "timeout": _number(value("Timeout")) or 3,
        "tmp": _number(value("EphemeralStorage", "Size")),
        "url": "stream" if value("FunctionUrlConfig", "InvokeMode") == "RESPONSE_STREAM" else None,
        "env": {key: _text(inner) for key, inner in environment.items() if inner is not None},
    }
    return {key: inner for key, inner in found.items() if inner is not None}


def _number(value: Any) -> Any:
    """A parameter's value is text, also where it stands for a number."""
    return int(value) if str(value).isdecimal() else value


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Resolver:
    """Puts in place of references what is known of them here; collects in `unknown` what is not."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self.unknown: list[str] = []
        self._known = known

    def value(self, where: str, value: Any) -> Any:
        """The value, or None."""
        try:
            return self._resolved(value)
        except _Unknown as error:
            self.unknown.append(f"{where} is {error}")
            return None

    def _resolved(self, value: Any) -> Any:
        if not hasattr(value, "keys"):
            return value
        (word, given), *_ = value.items()
        if word == "Ref" and given in self._known:
            return self._known[given]
        if word == "Fn::Sub" and isinstance(given, str):
            return re.sub(r"\$\{(!?)([^}]+)\}", self._substituted, given)
        if word == "Fn::Join":
            return str(given[0]).join(str(self._resolved(part)) for part in given[1])
        raise _Unknown(f"{word} {given if isinstance(given, str) else '...'}, known only where it is deployed")

    def _substituted(self, match: re.Match[str]) -> str:
        literal, name = match.groups()
        if literal:
            return "${" + name + "}"
        if name not in self._known:
            raise _Unknown(f"a text with ${{{name}}}, known only where it is deployed")
        return str(self._known[name])
