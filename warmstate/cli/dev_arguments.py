"""What `warmstate dev` takes."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["add_dev", "with_whole_debug"]

DEBUG_PORT = 5678


def add_dev(parser: argparse.ArgumentParser) -> None:
    """Its handlers and its options."""
    add = parser.add_argument
    add(
        "handler",
        nargs="*",
        metavar="HANDLER",
        help="module.Class or module.function, for example app.Handler (default: the only StatefulHandler of this folder)",
    )
    add(
        "-P",
        "--port",
        "--invoke-port",
        dest="invoke_port",
        type=int,
        metavar="PORT",
        help="port to serve at (default 9000; 0 for any)",
    )
    add("-A", "--invoke-address", default="127.0.0.1", metavar="HOST", help="address to serve at (default 127.0.0.1)")
    add("--strict-port", action="store_true", help="fail when the port is taken, instead of taking the next free one")
    add("--token", help="wanted from every caller; required for an address beyond this machine")
    add("--name", help="the function's name (default: from the handler)")
    add("--memory", type=int, metavar="MB", help="memory (default 1024)")
    add("--tmp", type=int, metavar="MB", help="size of /tmp (default 512)")
    add("--timeout", type=float, metavar="S", help="seconds for one invocation (default 30)")
    add("--max-instances", "--concurrency", type=int, metavar="N", help="instances at once (default 10)")
    add(
        "--max-concurrency",
        type=int,
        metavar="N",
        help="Managed Instances: N invocations at once in each process, no freezes",
    )
    add("--snap-start", action="store_true", help="init ahead, then restore from the snapshot with the first event")
    add(
        "--tenant-isolation",
        action="store_true",
        help="every event names its tenant, and shares no instance with another",
    )
    add("--provisioned", type=int, default=0, metavar="N", help="instances to initialize ahead")
    add("--strategy", choices=["aws", "round-robin", "newest"], help="which idle instance takes an event (default aws)")
    add(
        "--idle",
        type=_time,
        metavar="TIME",
        help="spin down after so long without an event, for example 90s (default 6m; 0 for never)",
    )
    add("--max-age", type=_time, metavar="TIME", help="spin down when so old, however busy (default: never)")
    mishap = "before an event, with probability P, its instance is reset, killed or spun down"
    add("--chaos", type=_share, default=0.0, metavar="P", help=mishap)
    add("--chaos-seed", type=int, metavar="N", help="with --chaos: the same mishaps as the run that told this seed")
    add("--record", metavar="FILE", help="add each event to FILE, one a line, for: warmstate replay --from FILE")
    add("--freeze", choices=["auto", "off"], default="auto", help="off: idle instances go on running, for debuggers")
    add(
        "--reload",
        choices=["keep", "fresh", "off"],
        help="on a change keep committed state (default), or drop it",
    )
    add(
        "--no-reload",
        "--ignore-changes",
        dest="reload",
        action="store_const",
        const="off",
        help="the same as --reload off",
    )
    add("--watch", action="append", metavar="PATH", help="watch this too")
    add("--ignore", action="append", default=[], metavar="GLOB", help="do not watch what matches, for example 'data/*'")
    add("--env-var", action="append", default=[], metavar="NAME=VALUE", help="a variable of the function")
    add("-n", "--env-vars", metavar="FILE", help="variables in JSON, as SAM reads them")
    add("--env-file", metavar="FILE", help="variables, one NAME=VALUE a line")
    add("--url-mode", dest="url", choices=["buffered", "stream"], help="how the function URL answers")
    add("--stream-limit", action="store_true", help="streams run at Lambda's 2 MB a second after the first 6 MB")
    add("-w", "--wait", action="store_true", help="start no instance before the first event")
    add(
        "--runtime",
        metavar="COMMAND",
        help="what speaks the Runtime API (default: a bootstrap in this folder, else warmstate's)",
    )
    add("-t", "--template", metavar="FILE", help="serve the functions of a SAM template; HANDLER chooses by name")
    override = "with -t: values of the template's parameters, NAME=VALUE"
    add("--parameter-overrides", nargs="+", default=[], metavar="NAME=VALUE", help=override)
    waits = "debugpy waits at 127.0.0.1:5678 for an editor; one instance, no freezes, no timeouts"
    add("-d", "--debug", "--debug-port", type=int, nargs="?", const=DEBUG_PORT, metavar="PORT", help=waits)
    only = "start nothing: your own process, as in an editor, runs the handler at the Runtime API that is shown"
    add("--only-lambda-apis", dest="attached", action="store_true", help=only)
    add("--no-isolation", dest="isolate", action="store_false", help="leave /tmp and the task root as they are")


def _time(text: str) -> float:
    """What --idle and --max-age take."""
    from warmstate.cli.settings import seconds

    try:
        return seconds(text, "")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _share(text: str) -> float:
    """What --chaos takes."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no probability; write a number from 0 to 1")
    return share


def with_whole_debug(given: Sequence[str]) -> list[str]:
    """The words of a command line, with the port in each `--debug` that has none: the next word is a handler, no port."""
    words = list(given)
    for index, word in enumerate(words[:-1]):
        if word == "--debug" and not words[index + 1].isdecimal():
            words[index] = f"--debug={DEBUG_PORT}"
    return words
