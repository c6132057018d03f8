"""`warmstate dev app.Handler`: the emulator in the foreground, its events on stderr, files watched."""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import threading
from typing import TYPE_CHECKING

from warmstate.cli.client import forget_endpoint, write_endpoint
from warmstate.cli.functions import functions_from
from warmstate.cli.hotkeys import Hotkeys, has_terminal
from warmstate.cli.look import line_of
from warmstate.cli.output import paint, print_json, uses_colour
from warmstate.cli.problem import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE, Problem
from warmstate.cli.settings import settle
from warmstate.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from warmstate.emulator import Emulator, Event, Function

__all__ = ["dev"]

COLOURS = {
    "COLD": "blue",
    "THAW": "cyan",
    "WARM": "green",
    "RESET": "yellow",
    "FREEZE": "grey",
    "THAWED": "grey",
    "REPORT": "grey",
}
PORT_MOST = 65_535
PORTS_TRIED = 20
PATIENCE = 0.1
"""Seconds between two looks at whether Ctrl-C was pressed while an instance is initialized."""
QUIET = (
    "platform.initStart",
    "platform.initRuntimeDone",
    "platform.runtimeDone",
    "platform.extension",
    "warmstate.instance",
)


def dev(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; the first ends in order, a second one at once."""
    stop = threading.Event()
    keys: Hotkeys | None = None

    def end(_number: int, _frame: object) -> None:
        if stop.is_set():
            if keys is not None:
                keys.restore()
            os._exit(EXIT_INTERRUPTED)  # the warden sees our end and kills what is left
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    settings = settle(options)
    if options.chaos and options.chaos_seed is None:
        options.chaos_seed = random.randrange(1_000_000)  # noqa: S311 - to be told, not to be secret
    functions = functions_from(options, settings)
    say = _say(options)
    emulator = _start(options)
    with emulator:
        emulator.events.listen(_printer(options))
        if options.record:
            emulator.record(options.record)
        try:
            for function in functions:
                emulator.add(function)
        except ConfigurationError as error:
            raise Problem("WS207", str(error), fix="warmstate dev --help", exit=EXIT_USAGE) from None
        path = write_endpoint(os.getcwd(), emulator.url, options.token)
        try:
            _greet(options, emulator, functions)
            if path is None:
                say(
                    f"  another emulator of this folder is meant by its commands; this one by --endpoint {emulator.url}"
                )
            if not options.wait:
                _warm_up(options, emulator, functions, stop)
            watcher = None
            if options.reload != "off":
                from warmstate.cli.reload import Watcher

                watcher = Watcher(options, emulator, functions, say)
            if has_terminal() and not options.no_interactive:
                keys = Hotkeys(options, emulator, watcher, say, lambda: end(signal.SIGINT, None))
            _hint(options, keys)
            waiting = threading.Thread(target=keys.run, args=(stop,)) if keys else None
            if waiting is not None:
                waiting.start()
            if watcher is not None:
                watcher.run(stop)
            stop.wait()
            if waiting is not None:
                waiting.join()
        finally:
            stop.set()
            if path is not None:
                forget_endpoint(path)
            if not options.quiet and not options.json:
                say("ending; once more Ctrl-C ends at once")
    return EXIT_OK


def _warm_up(
    options: argparse.Namespace, emulator: Emulator, functions: Sequence[Function], stop: threading.Event
) -> None:
    """Initialize an instance of each, so that what is broken shows now; a debugger, or Ctrl-C, is not waited for."""
    done = threading.Event()

    def work() -> None:
        try:
            for function in functions:
                emulator.warm_up(function.name)
        except ConfigurationError:
            pass  # it ended meanwhile
        finally:
            done.set()

    threading.Thread(target=work, daemon=True).start()
    while not options.debug and not stop.is_set() and not done.wait(PATIENCE):
        pass


def _start(options: argparse.Namespace) -> Emulator:
    """The emulator at the wanted port, or at the next free one."""
    from warmstate.emulator import Emulator

    port = options.invoke_port
    if not 0 <= port <= PORT_MOST:
        what = f"{port} is no port"
        raise Problem("WS207", what, fix=f"a number from 1 to {PORT_MOST}, or 0 for any", exit=EXIT_USAGE)
    last = port if options.strict_port or port == 0 else min(port + PORTS_TRIED, PORT_MOST)
    while True:
        try:
            return Emulator(host=options.invoke_address, port=port, token=options.token, isolate=options.isolate)
        except ConfigurationError as error:
            raise Problem("WS211", str(error), fix="add --token SECRET, or leave out -A", exit=EXIT_USAGE) from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port >= last:
                fix = "choose another one with -P, or leave out --strict-port"
                what = f"cannot listen at {options.invoke_address}:{port}"
                raise Problem("WS302", what, why=str(error.strerror), fix=fix, exit=EXIT_UNREACHABLE) from None
            _say(options)(f"port {port} is taken, trying {port + 1}")
            port += 1


def _greet(options: argparse.Namespace, emulator: Emulator, functions: Sequence[Function]) -> None:
    say = _say(options)
    for function in functions:
        invoke = f"{emulator.url}/2015-03-31/functions/{function.name}/invocations"
        if options.json:
            print_json({"v": 1, "ok": True, "url": emulator.url, "function": function.name, "invoke": invoke})
            continue
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        limits = f"{function.memory_mb} MB, /tmp {function.tmp_mb} MB, {function.timeout:g} s"
        say(f"warmstate   {function.name} = {function.handler}   python {python}   {limits}")
        say(f"  invoke   {invoke}")
        say(f"  url      {emulator.url}/lambda-url/{function.name}/")
        if function.attached:
            address = emulator.url.partition("//")[2]
            say(
                f"  runtime  AWS_LAMBDA_RUNTIME_API={address}/.rt/{function.name} _HANDLER={function.handler} LAMBDA_TASK_ROOT={function.task_root}"
            )
    if not options.json:
        say(f"  api      {emulator.url}/_warmstate/api/v1/openapi.json")
        if emulator.isolation is not None:
            say(f"  /tmp     a private folder, not a file system of its own: {emulator.isolation}")


def _hint(options: argparse.Namespace, keys: Hotkeys | None) -> None:
    if options.json:
        return
    say = _say(options)
    reload = {
        "keep": "a change keeps committed state",
        "fresh": "a change drops all state",
        "off": "changes are not watched",
    }
    if options.chaos:
        say(
            f"  chaos    {options.chaos:g}: the same again with --chaos {options.chaos:g} --chaos-seed {options.chaos_seed}"
        )
    if options.debug:
        say(f"  waiting for a debugger at 127.0.0.1:{options.debug}")
    say(f"  {reload[options.reload]}; {'h for the keys, ' if keys else ''}Ctrl-C ends")


def _say(options: argparse.Namespace) -> Callable[[str], None]:
    def say(text: str) -> None:
        if not options.quiet and not options.json:
            print(text, file=sys.stderr, flush=True)

    return say


def _printer(options: argparse.Namespace) -> Callable[[Event], None]:
    """What prints each event: JSON lines on stdout, or one line of text on stderr."""
    import attrs

    coloured = uses_colour(sys.stderr, options.color)

    def show(event: Event) -> None:
        if options.json:
            print_json({"v": 1, **attrs.asdict(event)})
        elif not options.quiet and (options.verbose or event.type not in QUIET):
            line = line_of(attrs.asdict(event))
            badge = line[13:21].strip()
            print(
                paint(line, COLOURS[badge], enabled=coloured) if badge in COLOURS else line, file=sys.stderr, flush=True
            )

    return show
