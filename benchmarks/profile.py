"""
What the time of warmstate is spent on: the counts that docs/performance.md explains.

Instructions outside the kernel come from valgrind, system calls from strace: both repeat on a busy machine, where times do not.
What an emulator costs is told in the CPU time of each process, which is the kernel's own account.
"""

from __future__ import annotations

import cProfile
import http.client
import os
import pstats
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.counts import executed, life, prepared
from benchmarks.events import records
from benchmarks.install import Unavailable, warmstate_in
from benchmarks.interpreters import find_interpreter
from benchmarks.peers import ASYNCHRONOUS, EVERYTHING, FUNCTION, LAMBDA, LIMIT, REFERENCE
from benchmarks.places import HANDLERS
from benchmarks.platform.emulators import under_rie, under_warmstate
from benchmarks.platform.stub import run, serve
from warmstate.emulator import Emulator, Function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.peers import Peer
    from benchmarks.platform.emulators import Served

__all__ = ["main"]

STEPS = Path(__file__).parent / "inside" / "steps.py"
SIZES = STEPS.with_name("memory.py")
SHORT, LONG = 1, 301
LOADED = "os, _json, _socket, select, fcntl, _contextvars, _locale, _operator, itertools"
"""The modules of Python on the way to the first next."""
COLD = {
    "Py_InitializeFromConfig": "of these, the interpreter before its first line",
    "marshal_loads": "of these, reading bytecode",
    "type_new": "of these, creating classes, Python's own too",
    "gc_collect_main": "of these, the garbage collector",
}
INVOCATIONS = 500
PARTS = {
    r"asyncio/|selectors|contextvars|concurrent/futures": "asyncio and what it stands on",
    r"emulator/servers|/h11/|wire/": "HTTP: three requests with their answers",
    r"emulator/processes": "processes: stop, continue, memory, who left the group",
    r"emulator/(journal|recorder|reports)|logging": "journal and report",
}
"""The rest is the life of the function."""


def main() -> int:
    """Print everything that can be counted on this machine, and of the rest why not; takes three minutes."""
    missing = [tool for tool in ("valgrind", "strace") if not shutil.which(tool)]
    if missing:
        print(f"nothing is counted: {' and '.join(missing)} must be installed first", file=sys.stderr)
        return 1
    for title, rows in (
        ("A warm invocation, instructions", warm_steps()),
        ("A cold start with one invocation and the end, instructions", cold_parts()),
        ("Resident memory, kB", memory_parts()),
        *((f"{peer.name}, system calls", system_calls(peer)) for peer in (FUNCTION, ASYNCHRONOUS, REFERENCE, LIMIT)),
        (f"{EVERYTHING.name}, system calls", system_calls(EVERYTHING)),
        *(
            (f"{peer.name} under {whose} emulator, for each invocation", shares(served, peer))
            for whose, served in (("AWS's", under_rie), ("our", under_warmstate))
            for peer in (FUNCTION, REFERENCE, LIMIT)
        ),
        ("Our emulator's thread, CPU time by what runs, per cent", emulator_parts()),
    ):
        print(f"\n{title}", flush=True)
        try:
            for name, number in rows:
                print(f"{number:>14,.2f}  {name}" if number < 10_000 else f"{number:>14,.0f}  {name}", flush=True)
        except Unavailable as reason:
            print(f"not counted: {reason}", flush=True)
    return 0


def warm_steps() -> Iterator[tuple[str, int]]:
    """What each step of an invocation executes, and whole invocations."""
    with prepared(find_interpreter("3.11")) as folder:
        for handler in ("plain.echo", "stateful.Memory", "stateful.Asynchronous", "stateful.Committed"):
            yield f"all of {handler}", (life(folder, handler, LONG) - life(folder, handler, SHORT)) // (LONG - SHORT)
        (folder / "event").write_bytes(records(100))
        program = [str(folder / "python" / "bin" / "python"), "-S", str(STEPS), str(folder)]
        environment = {**LAMBDA, "PYTHONHASHSEED": "0", "WARMSTATE_TMP": str(folder)}
        asked = subprocess.run([*program, "list", "0"], env=environment, check=True, capture_output=True, text=True)
        for step in asked.stdout.splitlines():
            few, many = (executed_by([*program, step, str(times)], environment) for times in (SHORT, LONG))
            yield step, (many - few) // (LONG - SHORT)


def executed_by(command: list[str], environment: dict[str, str]) -> int:
    """Instructions of a program."""
    return executed(lambda counting: subprocess.run([*counting, *command], env=environment, check=True))


def cold_parts() -> Iterator[tuple[str, int]]:
    """What a whole short life executes, and what parts of it do."""
    with prepared(find_interpreter("3.11")) as folder, tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        python = str(folder / "python" / "bin" / "python")
        bare = executed_by([python, "-S", "-c", "pass"], LAMBDA)
        yield "all of stateful.Everything", life(folder, "stateful.Everything", SHORT)
        yield "all of plain.echo", life(folder, "plain.echo", SHORT)
        yield "the interpreter, which does nothing and ends", bare
        yield "modules of Python", executed_by([python, "-S", "-c", f"import {LOADED}"], LAMBDA) - bare
        out = Path(scratch) / "out"
        calling = ["valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={out}", "-q"]
        variables = {
            **LAMBDA,
            "LAMBDA_TASK_ROOT": str(folder / "function"),
            "PYTHONPATH": "",
            "PYTHONHASHSEED": "0",
            "WARMSTATE_PYTHON": python,
            "_HANDLER": "stateful.Everything",
        }
        command = [*calling, str(folder / "function" / "bootstrap")]
        options = {"invocations": 1, "warmup": 0, "sigterm": 1, "spin": 0, "stub_cpu": -1, "runtime_cpu": -1}
        run(command, variables, records(100), **options)
        told = subprocess.run(
            ["callgrind_annotate", "--inclusive=yes", "--threshold=100", out],
            check=True,
            capture_output=True,
            text=True,
        )
        for symbol, name in COLD.items():
            found = re.findall(rf"^ *([\d,]+) .*:{symbol}(?: |$)", told.stdout, re.MULTILINE)
            if found:
                yield name, max(int(number.replace(",", "")) for number in found)


def memory_parts() -> Iterator[tuple[str, int]]:
    """What is resident as an interpreter loads the runtime and at a runtime's first next; the sizes of what was loaded."""
    python = warmstate_in("warmstate")
    folder = next((python.parents[1] / "lib").glob("python*/site-packages"))
    bundled = f"import {LOADED}; from warmstate.hosts import bundle; bundle.serve()"
    steps = {
        "a bare interpreter": "pass",
        "with modules of Python": f"import {LOADED}",
        "with warmstate's": f"import gc; gc.disable(); {bundled}; import warmstate.hosts.runtime; bundle.close()",
    }
    for name, step in steps.items():
        told = subprocess.run(
            [python, "-S", "-c", f"{step}\nprint(open('/proc/self/status').read())"],
            cwd=folder,
            env=LAMBDA,
            check=True,
            capture_output=True,
            text=True,
        )
        yield name, int(re.findall(r"VmRSS:\s+(\d+)", told.stdout)[0])
    for peer in (FUNCTION, EVERYTHING, REFERENCE):
        yield f"all of {peer.name}", serve(peer, records(1000), invocations=1, spin=0).rss_first_next_kb
    sizes = subprocess.run([python, "-S", SIZES, folder], env=LAMBDA, check=True, capture_output=True, text=True).stdout
    for line in sizes.splitlines():
        number, _, name = line.partition(" ")
        yield f"  {name}", int(number)


def system_calls(peer: Peer) -> Iterator[tuple[str, float]]:
    """Those before its first next, and those of an invocation."""
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        trace = Path(scratch) / "trace"
        watching = ["strace", "-D", "-f", "-qq", "-s", "200", "-o", str(trace), *peer.command]
        options = {"invocations": 200, "warmup": 0, "spin": 0, "stub_cpu": -1, "runtime_cpu": -1}
        run(watching, peer.variables(), records(100), **options)
        calls = [line for line in trace.read_text(errors="replace").splitlines() if re.match(r"\d+ +\w+\(", line)]
    asked = [number for number, line in enumerate(calls) if "/runtime/invocation/next" in line]
    yield "before its first next", float(asked[0])
    begin, end = asked[50], asked[150]
    yield "of an invocation", (end - begin) / 100
    for name, count in Counter(line.split("(")[0].split()[1] for line in calls[begin:end]).most_common():
        if count >= 10:
            yield f"  {name}", count / 100


def shares(served: Served, peer: Peer) -> Iterator[tuple[str, float]]:
    """The CPU time of each process in an invocation, in microseconds, and how often it gave up the processor."""
    with served(peer) as url:
        address, _, path = url.removeprefix("http://").partition("/")
        with closing(http.client.HTTPConnection(address)) as connection:
            invoke(connection, path, 50)
            (emulator,) = children(os.getpid())
            # An emulator may have a process between itself and the runtime, which does nothing now.
            idle = {pid: account(pid) for pid in descendants(emulator)}
            invoke(connection, path, 50)
            runtime = max(idle, key=lambda pid: account(pid)[0] - idle[pid][0])
            processes = {"the caller": os.getpid(), "the emulator": emulator, "the runtime": runtime}
            before = {name: account(pid) for name, pid in processes.items()}
            invoke(connection, path, INVOCATIONS)
            for name, pid in processes.items():
                busy, switches = (after - then for after, then in zip(account(pid), before[name], strict=True))
                yield f"{name}, CPU µs", busy / INVOCATIONS / 1000
                yield f"{name}, switches", switches / INVOCATIONS


def invoke(connection: http.client.HTTPConnection, path: str, times: int) -> None:
    """One invocation after another."""
    for _ in range(times):
        connection.request("POST", f"/{path}", records(100), {"Content-Type": "application/json"})
        connection.getresponse().read()


def emulator_parts() -> Iterator[tuple[str, float]]:
    """Which part of the emulator its thread's time goes to, under Python's own profiler; the calls it makes in C count as its."""
    spent: Counter[str] = Counter()
    profiler = cProfile.Profile(time.thread_time)
    with tempfile.TemporaryDirectory() as scratch:
        variables = {"PYTHONPATH": "", "WARMSTATE_TMP": scratch}
        function = Function(
            name="echo", handler="plain.echo", task_root=HANDLERS, runtime=FUNCTION.command, environment=variables
        )
        with Emulator(functions=[function]) as emulator:
            path = "2015-03-31/functions/echo/invocations"
            with closing(http.client.HTTPConnection(emulator.url.removeprefix("http://"))) as connection:
                invoke(connection, path, 50)
                on_thread_of(emulator, profiler.enable)
                invoke(connection, path, INVOCATIONS)
                on_thread_of(emulator, profiler.disable)
    for (file, _, _), (_, _, own, _, callers) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        for caller, (_, _, part, _) in callers.items() if file == "~" else ():
            spent[part_of(caller[0])] += part
        if file != "~":
            spent[part_of(file)] += own
    for name, seconds in spent.most_common():
        yield name, seconds / sum(spent.values()) * 100


def on_thread_of(emulator: Emulator, work: Callable[[], object]) -> None:
    """Do something on the thread that runs the emulator's event loop, and wait for it."""
    done = threading.Event()

    def at_once() -> None:
        work()
        done.set()

    emulator._loop.call_soon_threadsafe(at_once)
    done.wait()


def part_of(file: str) -> str:
    """The part of the emulator that a file belongs to."""
    for pattern, part in PARTS.items():
        if re.search(pattern, file):
            return part
    return "the life of the function: queue, deadline, phases, freeze and thaw"


def children(parent: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = stat.read_text().rpartition(") ")[2].split()[:2]
        except OSError:  # it has ended meanwhile
            continue
        if int(ppid) == parent and state != "Z":
            found.append(int(stat.parent.name))
    return found


def descendants(ancestor: int) -> list[int]:
    """The children of a process, their children, and so on."""
    return [each for child in children(ancestor) for each in (child, *descendants(child))]


def account(pid: int) -> tuple[int, int]:
    """Nanoseconds that the threads of a process ran, and how often they gave up the processor."""
    busy = switches = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        busy += int((thread / "schedstat").read_text().split()[0])
        switches += sum(int(count) for count in re.findall(r"ctxt_switches:\s+(\d+)", (thread / "status").read_text()))
    return busy, switches
