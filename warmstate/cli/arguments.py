"""Which verbs there are, and what each takes."""

from __future__ import annotations

import argparse

from warmstate.cli.dev_arguments import add_dev
from warmstate.cli.parsing import EPILOG, Parser, Version, shared

__all__ = ["build_parser"]

STARTS = ["cold", "warm", "thaw", "reset", "restore", "provisioned"]


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    after_verb = shared(before_verb=False)
    parser = Parser(
        prog="warmstate",
        parents=[shared(before_verb=True)],
        description="A local Lambda that really freezes, thaws, resets and ends your function.",
        epilog=EPILOG,
    )
    parser.add_argument("-V", "--version", action=Version, nargs=0, help="show the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, run: str, text: str, *aliases: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, parents=[after_verb], help=text, description=text, aliases=list(aliases))
        added.set_defaults(run=run, verb=name, parser=added)
        return added

    add_dev(
        verb(
            "dev",
            "dev:dev",
            "run a handler on a local Lambda, and start it anew when its files change",
            "watch",
            "start",
        )
    )
    _add_invoke(verb("invoke", "invoke:invoke", "send an event to a function; its answer goes to stdout"))
    replay = verb("replay", "replay:replay", "send the event of an earlier invocation again")
    replay.add_argument(
        "request_id", nargs="?", metavar="REQUEST", help='a request id, the beginning of one, or "last"'
    )
    replay.add_argument(
        "--from", dest="recording", metavar="FILE", help="every event of a file of dev --record; - is stdin"
    )
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
        every = "every instance, busy ones too" if name == "kill" else "every idle instance"
        added.add_argument("--all", action="store_true", help=every)
        if name == "freeze":
            added.add_argument("--seconds", type=_ahead, default=0.0, help="move the instance's clock ahead")
            added.add_argument("--minutes", type=_ahead, default=0.0, help="the same in minutes")
    scale = verb("scale", "instances:scale", "have N initialized instances now")
    scale.add_argument("count", type=int, metavar="N")
    scale.add_argument("function", nargs="?", help="of this function (default: the only one)")
    state = verb("state", "look:state", "show what an instance holds, as of its latest next")
    state.add_argument("instance", nargs="?", metavar="INSTANCE")
    logs = verb("logs", "look:logs", "show what the instances wrote", "tail")
    logs.add_argument("instance", nargs="?", metavar="INSTANCE", help="or a function: of all its instances")
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
    completion.add_argument("shell", type=_shell, metavar="SHELL", help="bash, zsh or fish")
    return parser


def _shell(text: str) -> str:
    """What `completion` takes; the last two are what its scripts ask for."""
    if text not in {"bash", "zsh", "fish", "instances", "functions"}:
        raise argparse.ArgumentTypeError(f"there is no script for '{text}'; write bash, zsh or fish")
    return text


def _ahead(text: str) -> float:
    """How far a clock can be moved; NaN and infinity are numbers to Python, and none to JSON."""
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no time to move ahead; write a number from 0")
    return amount


def _add_journal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens next")
    parser.add_argument("--since", type=int, default=0, metavar="ID", help="begin after this event")


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
    add("--expect-start", "--expect-kind", choices=STARTS, help="exit with 8 unless each was so found")
    add("--stream", action="store_true", help="print a streamed answer as it comes")
    add("-o", "--output-format", choices=["text", "json"], help="json is the same as --json")
    add("--on", metavar="INSTANCE", help="on that instance")
    add("--cold", action="store_true", help="on a new instance; an idle one gives way where no more may be")
    add("--qualifier", help="version or alias")
    add("--client-context", metavar="JSON", help="what the handler finds as context.client_context")
    add("--tenant-id", metavar="ID", help="the tenant, for a function with tenant isolation")
    add("--tail", action="store_true", help="show the end of its log as well")
    add("-R", "--remote", action="store_true", help="on AWS instead, with boto3 and your account (warmstate[aws])")
    add("--profile", metavar="NAME", help="with --remote: a profile of your AWS configuration")
    add("--region", metavar="NAME", help="with --remote: the region")
    add("--endpoint-url", metavar="URL", help="with --remote: where the Lambda API is")
