"""
The `warmstate` command: which verbs there are, and what each takes.

Only argparse is imported here; a verb's module is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from warmstate.cli.problem import EXIT_CODES, EXIT_INTERRUPTED, EXIT_UNREACHABLE, EXIT_USAGE, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

__all__ = ["build_parser", "main"]

EPILOG = f"""exit codes:
{"".join(f"  {code:<5}{text}" + chr(10) for code, text in EXIT_CODES.items())}
No telemetry, no account, no network: everything happens on this machine."""


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that takes longer than all the rest of --help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            parser.exit(0, f"warmstate {version('warmstate')}\n")
        except PackageNotFoundError:
            parser.exit(0, "warmstate, not installed\n")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Asks for the terminal's width itself: argparse does it with shutil, which loads every archive format there is."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, width=_width(), **options)


def _width() -> int:
    try:
        return int(os.environ["COLUMNS"]) - 2
    except (KeyError, ValueError):
        pass
    try:
        return max(40, os.get_terminal_size().columns - 2)
    except OSError:
        return 78


class _Parser(argparse.ArgumentParser):
    """Says what it cannot parse in the one shape of our errors."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Formatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        what, fix = message, f"{self.prog} --help"
        if "argument VERB: invalid choice" in message:
            from difflib import get_close_matches

            wrong, *known = message.split("'")[1::2]
            near = get_close_matches(wrong, known or message.partition("choose from ")[2].strip(")").split(", "), 1)
            what = f"there is no verb '{wrong}'"
            fix = f"{self.prog} {near[0]}    or all of them: {fix}" if near else fix
        raise Problem("WS200", what, where=self.prog, fix=fix, exit=EXIT_USAGE)


def _shared(*, before_verb: bool) -> _Parser:
    """What every verb takes, before the verb as well as after it; there it only counts when it is given."""

    def default(value: object) -> object:
        return value if before_verb else argparse.SUPPRESS

    shared = _Parser(add_help=False)
    group = shared.add_argument_group("for every verb")
    add = group.add_argument
    add("-C", dest="directory", metavar="DIR", default=default(None), help="run as if started in DIR")
    which = "the emulator to talk to (default: the one that runs in this folder)"
    add("--endpoint", metavar="URL", default=default(None), help=which)
    add("--json", action="store_true", default=default(value=False), help="answer in JSON, one object a line")
    silent = "only the answer, nothing beside it"
    add("-q", "--quiet", action="store_true", default=default(value=False), help=silent)
    choices = ["auto", "always", "never"]
    add("--color", choices=choices, default=default("auto"), help="colours (default: on a terminal)")
    long = "progress of long work (default: on a terminal)"
    add("--progress", choices=["auto", "never"], default=default("auto"), help=long)
    return shared


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    shared = _shared(before_verb=False)
    parser = _Parser(
        prog="warmstate",
        parents=[_shared(before_verb=True)],
        description="A local Lambda that really freezes, thaws, resets and ends your function.",
        epilog=EPILOG,
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="show the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, run: str, text: str, *aliases: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, parents=[shared], help=text, description=text, aliases=list(aliases))
        added.set_defaults(run=run, verb=name)
        return added

    _add_dev(
        verb(
            "dev",
            "dev:dev",
            "run a handler on a local Lambda, and start it anew when its files change",
            "watch",
            "start",
        )
    )
    _add_invoke(verb("invoke", "invoke:invoke", "send an event to a function; its answer goes to stdout"))
    replay = verb("replay", "invoke:replay", "send the event of an earlier invocation again")
    replay.add_argument("request_id", metavar="REQUEST", help='a request id, the beginning of one, or "last"')
    ps = verb("ps", "instances:ps", "list the instances")
    ps.add_argument("function", nargs="?", help="only those of this function")
    for name, text in (
        ("freeze", "stop an idle instance; --minutes makes it believe in a longer freeze"),
        ("thaw", "let a frozen instance run without an event"),
        ("reset", "end an instance's processes as after a failed invocation; /tmp stays"),
        ("kill", "kill an instance's processes without a word; /tmp stays"),
        ("spindown", "shut an instance down as after a long idle time; /tmp goes"),
    ):
        added = verb(name, "instances:act", text)
        added.add_argument("instance", nargs="?", metavar="INSTANCE", help='for example "i-1"')
        added.add_argument("--all", action="store_true", help="every idle instance")
        if name == "freeze":
            added.add_argument("--seconds", type=float, default=0.0, help="move the instance's clock ahead")
            added.add_argument("--minutes", type=float, default=0.0, help="the same in minutes")
    scale = verb("scale", "instances:scale", "have N initialized instances now")
    scale.add_argument("count", type=int, metavar="N")
    scale.add_argument("function", nargs="?", help="of this function (default: the only one)")
    state = verb("state", "look:state", "show what an instance holds, as of its latest next")
    state.add_argument("instance", nargs="?", metavar="INSTANCE")
    logs = verb("logs", "look:logs", "show what the instances wrote", "tail")
    logs.add_argument("instance", nargs="?", metavar="INSTANCE")
    _add_journal(logs)
    events = verb("events", "look:events", "show what happened, in order")
    events.add_argument("--type", default="", help='only this type; "warmstate." means all that begin so')
    _add_journal(events)
    examples = verb("examples", "examples:examples", "list the example events, or show one", "generate-event")
    examples.add_argument("name", nargs="?", help='for example "sqs"')
    examples.add_argument(
        "event", nargs="?", help='which one of the service, as "receive-message"; there is one of each'
    )
    timeline = verb("timeline", "timeline:timeline", "draw when each instance ran, idled and was frozen")
    timeline.add_argument("--svg", metavar="FILE", help="write a drawing instead of text")
    timeline.add_argument("--squeeze", action="store_true", help="shorten the times in which nothing ran")
    timeline.add_argument("--since", type=int, default=0, metavar="ID", help="begin after this event")
    doctor = verb("doctor", "doctor:doctor", "check what this machine and this handler can do")
    doctor.add_argument("handler", nargs="?", metavar="HANDLER", help="for example app.Handler")
    env = verb("env", "environment:env", 'print exports for AWS tools: eval "$(warmstate env)"')
    env.add_argument("--unset", action="store_true", help="print what takes them back")
    completion = verb("completion", "completion:completion", "print a completion script")
    completion.add_argument("shell", choices=["bash", "zsh", "fish"])
    return parser


def _add_journal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens next")
    parser.add_argument("--since", type=int, default=0, metavar="ID", help="begin after this event")


def _add_dev(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "handler",
        nargs="*",
        metavar="HANDLER",
        help="module.Class or module.function, for example app.Handler (default: the only StatefulHandler of this folder)",
    )
    add("-P", "--invoke-port", type=int, metavar="PORT", help="port to serve at (default 9000; 0 for any)")
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
    add("--strategy", choices=["aws", "round-robin"], help="which idle instance takes an event (default aws)")
    add(
        "--idle",
        type=_time,
        metavar="TIME",
        help="spin down after so long without an event, for example 90s (default 6m; 0 for never)",
    )
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
    add("--debug", action="store_const", const=5678, help=waits)
    add("-d", "--debug-port", dest="debug", type=int, metavar="PORT", help="the same, at that port")
    only = "start nothing: your own process, as in an editor, runs the handler at the Runtime API that is shown"
    add("--only-lambda-apis", dest="attached", action="store_true", help=only)
    add("--no-isolation", dest="isolate", action="store_false", help="leave /tmp and the task root as they are")


def _add_invoke(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("function", nargs="?", metavar="FUNCTION", help="name or ARN (default: the only one)")
    add("-d", "--data", "--data-ascii", metavar="JSON", help="the event; @FILE reads it")
    add(
        "-F",
        "--data-file",
        "-e",
        "--event",
        dest="event_file",
        metavar="FILE",
        help="the event from a file, - for stdin",
    )
    add(
        "-E",
        "--data-example",
        "--example",
        dest="example",
        metavar="NAME",
        help="an example event (warmstate examples)",
    )
    add(
        "--async",
        "--event-type",
        dest="asynchronous",
        action="store_true",
        help="as InvocationType=Event: accepted, run later",
    )
    add("--dry-run", action="store_true", help="only check that it would run")
    add("-n", "--repeat", type=int, default=1, metavar="N", help="send it N times and print percentiles")
    add("-c", "--parallel", type=int, default=1, metavar="N", help="with -n: N at once")
    add(
        "--expect-start", "--expect-kind", metavar="KIND", help='exit with 8 unless it was so found, for example "thaw"'
    )
    add("--stream", action="store_true", help="print a streamed answer as it comes")
    add("-o", "--output-format", choices=["text", "json"], help="json is the same as --json")
    add("--on", metavar="INSTANCE", help="on that instance")
    add("--qualifier", help="version or alias")
    add("--client-context", metavar="JSON")
    add("--tenant-id", metavar="ID")
    add("--tail", action="store_true", help="show the end of its log as well")
    add("-R", "--remote", action="store_true", help="on AWS instead, with boto3 and your account (warmstate[aws])")
    add("--profile", metavar="NAME", help="with --remote: a profile of your AWS configuration")
    add("--region", metavar="NAME", help="with --remote: the region")
    add("--endpoint-url", metavar="URL", help="with --remote: where the Lambda API is")


def _time(text: str) -> float:
    """What --idle takes."""
    from warmstate.cli.functions import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        parser = build_parser()
        if not given:
            parser.print_help(sys.stderr)
            return EXIT_USAGE
        options = parser.parse_args(given)
    except Problem as problem:
        problem.print(as_json="--json" in given)
        return problem.exit
    try:
        if options.directory:
            os.chdir(options.directory)
        module, function = options.run.split(":")
        code: int = getattr(import_module(f"warmstate.cli.{module}"), function)(options)
        sys.stdout.flush()
        return code
    except Problem as problem:
        problem.print(as_json=options.json)
        return problem.exit
    except FileNotFoundError as error:
        Problem("WS206", f"there is no {error.filename}", exit=EXIT_USAGE).print(as_json=options.json)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `warmstate logs | head` is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ConnectionError as error:
        Problem("WS301", f"the connection to the emulator broke: {error}", exit=EXIT_UNREACHABLE).print(
            as_json=options.json
        )
        return EXIT_UNREACHABLE


if __name__ == "__main__":
    sys.exit(main())
