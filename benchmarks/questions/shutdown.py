"""How soon an idle instance runs its shutdown hook after SIGTERM; AWS's client has none to run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import available, percentile
from benchmarks.peers import warmstate
from benchmarks.platform.stub import run
from benchmarks.tables import Table, number

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.peers import Peer

PROCESSES = 40
"""Of one round; each can be ended only once."""


def ask(settings: Settings) -> list[Table]:
    """One row: from the signal to the hook's first line, and to the end of the process."""
    peers, missing = available([warmstate("**warmstate**, before_shutdown", "stateful.Leaving")])
    rows = []
    for peer in peers:
        ends = [end(peer) for _ in range(settings.invocations(PROCESSES) * settings.rounds)]
        hooks, exits = zip(*ends, strict=True)
        rows.append(
            [peer.name, *(number(percentile(times, share) / 1e6) for times in (hooks, exits) for share in (0.5, 0.99))]
        )
    columns = ["runtime", "SIGTERM to hook ms, p50", "p99", "SIGTERM to exit ms, p50", "p99"]
    return [
        Table(
            "Shutdown of an idle instance",
            columns,
            rows,
            missing,
            note="awslambdaric does not run anything at SIGTERM.",
        )
    ]


def end(peer: Peer) -> tuple[int, int]:
    """Nanoseconds from the signal to the hook and to the exit of one process."""
    done = run(peer.command, peer.variables(), records(100), invocations=2, warmup=0, sigterm=1)
    hook = re.search(r"hook at (\d+)", done.output)
    if not hook:
        raise RuntimeError(f"before_shutdown did not run within two seconds:\n{done.output[-2000:]}")
    return int(hook[1]) - done.sigterm_at, done.exited_after_ns
