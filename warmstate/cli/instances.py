"""`warmstate ps` and the verbs on instances: freeze, thaw, reset, kill, spindown, scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warmstate.cli.client import Client, quoted
from warmstate.cli.output import duration, note, print_json, size, table
from warmstate.cli.problem import EXIT_OK, EXIT_USAGE, Problem

if TYPE_CHECKING:
    import argparse

__all__ = ["act", "as_table", "ps", "scale", "show"]


def ps(options: argparse.Namespace) -> int:
    """The instances."""
    show(options, Client(options).get("/instances", function=options.function or ""))
    return EXIT_OK


def act(options: argparse.Namespace) -> int:
    """One of the verbs, on one instance or on all idle ones."""
    if options.instance is None and not options.all:
        raise Problem(
            "WS205",
            f"which instance to {options.verb}?",
            fix=f"warmstate {options.verb} i-1    or warmstate {options.verb} --all    (warmstate ps lists them)",
            exit=EXIT_USAGE,
        )
    target: str = "all" if options.all else str(options.instance)
    body = {"seconds": options.seconds + 60 * options.minutes} if options.verb == "freeze" else {}
    found = Client(options).post(f"/instances/{quoted(target)}/{options.verb}", body)
    if not options.quiet:
        show(options, found)
    return EXIT_OK


def scale(options: argparse.Namespace) -> int:
    """Have that many initialized instances."""
    show(options, Client(options).post(f"/functions/{quoted(options.function or '_')}/scale", {"count": options.count}))
    return EXIT_OK


def show(options: argparse.Namespace, instances: list[dict[str, Any]]) -> None:
    """Instances as a table, or as JSON lines."""
    if options.json:
        for instance in instances:
            print_json({"v": 1, **instance})
        return
    if not instances:
        note(options, "no instances; the first event starts one")
        return
    print(as_table(instances))


def as_table(instances: list[dict[str, Any]]) -> str:
    """Instances as a table; an empty text for none."""
    if not instances:
        return ""
    heads = ["INSTANCE", "FUNCTION", "STATE", "PID", "AGE", "INVOKES", "COLD/THAW/RESET", "MEMORY", "TMP", "LAST"]
    return table(heads, [_row(instance) for instance in instances])


def _row(instance: dict[str, Any]) -> list[str]:
    starts = instance["starts"]
    idle = instance["idle"]
    frozen = f" {duration(instance['frozen_for'])}" if instance["state"] == "frozen" else ""
    return [
        instance["instance"],
        instance["function"],
        instance["state"] + frozen,
        str(instance["pid"] or "-"),
        duration(instance["age"]),
        str(instance["invocations"]),
        f"{starts.get('cold', 0)}/{starts.get('thaw', 0)}/{starts.get('reset', 0)}",
        f"{instance['memory_bytes'] >> 20}/{instance['memory_limit'] >> 20} MB",
        size(instance["tmp_bytes"]),
        f"{duration(idle)} ago" if idle else "now",
    ]
