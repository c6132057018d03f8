"""`warmstate state`, `logs` and `events`: what an instance holds, what it wrote, what happened."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from warmstate.cli.client import Client, quoted
from warmstate.cli.output import print_json, size
from warmstate.cli.problem import EXIT_OK

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["events", "line_of", "logs", "state"]

BADGES = {
    "initStart": "START",
    "initRuntimeDone": "READY",
    "restoreStart": "RESTORE",
    "restoreRuntimeDone": "READY",
    "restoreReport": "RESTORED",
    "runtimeDone": "DONE",
    "throttled": "THROTTLE",
}
"""What would be wider than its column under its own name."""
INDENT = " " * 28
"""Under the text of a line of the log."""


def state(options: argparse.Namespace) -> int:
    """What the instance wrote about itself before its latest next: a frozen process cannot be asked."""
    client = Client(options)
    name = options.instance
    if name is None:
        living = client.get("/instances")
        name = living[0]["instance"] if len(living) == 1 else "all"
    found = client.get(f"/instances/{quoted(name)}/state")
    if options.json:
        print_json({"v": 1, "instance": name, **found})
    else:
        _tree(found, "")
    return EXIT_OK


def _tree(value: Any, indent: str) -> None:
    """Nested values, one a line."""
    items: list[tuple[object, Any]] = [*(value.items() if isinstance(value, dict) else enumerate(value))]
    for key, item in items:
        if item and isinstance(item, (dict, list)):
            print(f"{indent}{key}")
            _tree(item, indent + "  ")
        elif isinstance(item, (int, float)) and str(key).endswith("bytes"):
            print(f"{indent}{key}  {size(item)}")
        else:
            print(f"{indent}{key}  {'-' if item is None or item in ({}, []) else item}")


def logs(options: argparse.Namespace) -> int:
    """What the processes wrote, and the platform's words between."""
    for event in _events(options, "") if not options.follow else _followed(options, ""):
        if options.instance not in {None, event["instance"], event["function"]}:
            continue
        if options.json:
            print_json({"v": 1, **event})
        elif event["type"] in {"function", "extension", "platform.start", "platform.report", "platform.initReport"}:
            print(line_of(event), flush=True)
    return EXIT_OK


def events(options: argparse.Namespace) -> int:
    """The journal."""
    for event in _events(options, options.type) if not options.follow else _followed(options, options.type):
        if options.json:
            print_json({"v": 1, **event})
        else:
            print(line_of(event), flush=True)
    return EXIT_OK


def _events(options: argparse.Namespace, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Client(options).get("/events", since=str(options.since), type=kind)
    return found


def _followed(options: argparse.Namespace, kind: str) -> Iterator[dict[str, Any]]:
    return Client(options).stream("/events/stream", since=str(options.since), type=kind)


def line_of(event: dict[str, Any]) -> str:
    """One event on one line: time, badge, instance, what there is to say."""
    stamp = time.strftime("%H:%M:%S", time.localtime(event["time"])) + f".{int(event['time'] % 1 * 1000):03}"
    badge, text = _said(event["type"], event["record"])
    return f"{stamp} {badge:<8} {event['instance'] or '-':<5} {text}".rstrip()


def _said(kind: str, record: dict[str, Any]) -> tuple[str, str]:
    """A badge and words for an event."""
    if kind in {
        "function",
        "extension",
    }:  # a traceback is one event; the log service shows its carriage returns as lines
        return "", str(record["line"]).rstrip("\r").replace("\r", "\n" + INDENT).replace("\N{NO-BREAK SPACE}", " ")
    metrics = record.get("metrics", {})
    request = str(record.get("requestId", ""))[:8]
    if kind == "platform.initReport":
        failed = f"  {record['status']} {record.get('errorType', '')}" if record["status"] != "success" else ""
        return "INIT", f"{metrics['durationMs']:.0f} ms  {record['phase']}{failed}"
    if kind == "platform.start":
        return str(record["start"]).upper(), f"{request}  invoke"
    if kind == "platform.report":
        failed = f"  {record['status']} {record.get('errorType', '')}" if record["status"] != "success" else ""
        memory = f"{metrics['maxMemoryUsedMB']}/{metrics['memorySizeMB']} MB"
        return (
            "REPORT",
            f"{request}  {metrics['durationMs']:.1f} ms  billed {metrics['billedDurationMs']} ms  {memory}{failed}",
        )
    if kind == "warmstate.thaw":
        return "THAWED", f"after {record['frozenMs'] / 1000:.1f} s"
    if kind == "warmstate.shutdown":
        used = f"{record['runtimeMs']:.0f} ms of {record['runtimeBudgetMs']} ms"
        return "DOWN", f"{record['reason']}  {used}{'  killed' if record['killed'] else ''}"
    words = "  ".join(f"{key} {value}" for key, value in record.items() if not isinstance(value, dict))
    name = kind.rpartition(".")[2]
    return BADGES.get(name, name.upper()), words
