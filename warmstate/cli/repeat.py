"""`warmstate invoke -n 100 -c 4`: many events, and how long they took by kind of start."""

from __future__ import annotations

import copy
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from warmstate.cli.client import Client
from warmstate.cli.output import note, print_json, table
from warmstate.cli.problem import EXIT_FUNCTION_ERROR, EXIT_OK, EXIT_THROTTLED, EXIT_UNEXPECTED, Problem

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import requests

__all__ = ["repeat"]


def repeat(options: argparse.Namespace, send: Callable[[Client], requests.Response]) -> int:
    """Send the event `options.repeat` times, `options.parallel` at once; prints percentiles."""
    local = threading.local()
    times: dict[str, list[float]] = {}
    counts = {"done": 0, "failed": 0, "throttled": 0}
    lock = threading.Lock()
    shows_progress = sys.stderr.isatty() and not options.quiet and options.progress != "never"

    def one(_: int) -> None:
        if not hasattr(local, "client"):
            local.client = Client(copy.copy(options))
        begun = time.perf_counter()
        try:
            answer = send(local.client)
            kind = answer.headers.get("x-warmstate-start") or "accepted"
            failed = "x-amz-function-error" in answer.headers
        except Problem as problem:
            if problem.exit != EXIT_THROTTLED:
                raise
            kind, failed = "throttled", True
        with lock:
            times.setdefault(kind, []).append((time.perf_counter() - begun) * 1000)
            counts["done"] += 1
            counts["failed"] += failed
            counts["throttled"] += kind == "throttled"
            if shows_progress:
                print(f"\r{counts['done']}/{options.repeat}", end="", file=sys.stderr, flush=True)

    begun = time.perf_counter()
    with ThreadPoolExecutor(options.parallel) as executor:
        for _ in executor.map(one, range(options.repeat)):
            pass
    seconds = time.perf_counter() - begun
    if shows_progress:
        print("\r", end="", file=sys.stderr)
    rows = {kind: _figures(values) for kind, values in sorted(times.items())}
    if options.json:
        print_json({"v": 1, "ok": not counts["failed"], "seconds": seconds, **counts, "starts": rows})
    else:
        heads = ["START", "COUNT", "P50 MS", "P95 MS", "P99 MS", "MAX MS"]
        print(table(heads, [[kind, *(f"{value:g}" for value in row.values())] for kind, row in rows.items()]))
        note(
            options,
            f"{counts['done'] / seconds:.0f} a second, {counts['failed']} failed, {counts['throttled']} throttled",
        )
    if counts["throttled"]:
        return EXIT_THROTTLED
    if counts["failed"]:
        return EXIT_FUNCTION_ERROR
    if options.expect_start and set(times) != {options.expect_start}:
        note(options, f"expected the start {options.expect_start}, found {', '.join(sorted(times))}")
        return EXIT_UNEXPECTED
    return EXIT_OK


def _figures(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    at = {f"p{share}": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 2) for share in (50, 95, 99)}
    return {"count": len(ordered), **at, "max": round(ordered[-1], 2)}
