"""`warmstate invoke`: one event to a function, its answer on stdout, the rest on stderr."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from warmstate.cli.client import Client, quoted
from warmstate.cli.output import note, print_json
from warmstate.cli.problem import (
    EXIT_FUNCTION_ERROR,
    EXIT_INIT_FAILED,
    EXIT_OK,
    EXIT_THROTTLED,
    EXIT_TIMED_OUT,
    EXIT_UNEXPECTED,
    EXIT_USAGE,
    Problem,
)
from warmstate.cli.settings import configured

if TYPE_CHECKING:
    import argparse

    import requests

__all__ = ["invoke", "read", "refused", "show"]


def invoke(options: argparse.Namespace) -> int:
    """Send the event, once or `--repeat` times."""
    payload = _payload(options)
    options.json = options.json or options.output_format == "json"
    options.function = options.function or configured(options).get("default")
    if options.remote:
        from warmstate.cli.remote import remote

        return remote(options, payload)
    _check_together(options)
    client = Client(options)
    if options.stream:
        return _streamed(options, client, payload)
    if options.repeat > 1:
        from warmstate.cli.repeat import repeat

        return repeat(options, lambda client: send(client, options, payload))
    answer = send(client, options, payload)
    if answer.status_code in {202, 204}:
        done = {"v": 1, "ok": True, "status": answer.status_code, "request_id": answer.headers.get("x-amzn-requestid")}
        if options.json:
            print_json(done)
        else:
            note(options, f"{'accepted' if answer.status_code == 202 else 'would run'} · request {done['request_id']}")
        return EXIT_OK
    return show(options, answer.content, _details(client, answer))


def send(client: Client, options: argparse.Namespace, payload: bytes) -> requests.Response:
    """
    The request itself.

    Raises:
        Problem: The service refuses it.
    """
    headers = _headers(options)
    path = f"/2015-03-31/functions/{quoted(options.function or '_')}/invocations{_qualifier(options)}"
    answer = client.send("POST", path, data=payload, headers=headers)
    if answer.status_code >= 400:
        raise refused(answer)
    return answer


def _check_together(options: argparse.Namespace) -> None:
    """
    Refuse what cannot be meant together.

    Raises:
        Problem: Two of the options contradict each other.
    """
    given = [
        flag
        for flag, is_there in (
            ("--stream", options.stream),
            ("--async", options.asynchronous),
            ("--dry-run", options.dry_run),
            ("-n", options.repeat > 1),
        )
        if is_there
    ]
    pairs = [("--on", "--cold")] if options.on and options.cold else []
    pairs += [(given[0], given[1])] if "--stream" in given[:1] and len(given) > 1 else []
    pairs += [("--async", "--dry-run")] if options.asynchronous and options.dry_run else []
    pairs += [("--expect-start", flag) for flag in given if options.expect_start and flag in {"--async", "--dry-run"}]
    if pairs:
        what = f"{pairs[0][0]} does not go with {pairs[0][1]}"
        raise Problem("WS203", what, fix="leave one of them out", exit=EXIT_USAGE)
    for flag, number in (("-n", options.repeat), ("-c", options.parallel)):
        if number < 1:
            raise Problem("WS203", f"{flag} {number} is not possible", fix="1 is the least", exit=EXIT_USAGE)
    if options.parallel > 1 and options.repeat == 1:
        what = f"-c {options.parallel} is for more than one event"
        raise Problem("WS203", what, fix=f"say how many: -n {10 * options.parallel}", exit=EXIT_USAGE)


def _qualifier(options: argparse.Namespace) -> str:
    return f"?Qualifier={quoted(options.qualifier)}" if options.qualifier else ""


def _headers(options: argparse.Namespace) -> dict[str, str]:
    headers = {"X-Amz-Log-Type": "Tail"}
    if options.asynchronous:
        headers["X-Amz-Invocation-Type"] = "Event"
    if options.dry_run:
        headers["X-Amz-Invocation-Type"] = "DryRun"
    if options.client_context:
        headers["X-Amz-Client-Context"] = base64.b64encode(options.client_context.encode()).decode()
    if options.tenant_id:
        headers["X-Amz-Tenant-Id"] = options.tenant_id
    if options.on or options.cold:
        headers["X-Warmstate-Instance"] = options.on or "new"
    return headers


def _streamed(options: argparse.Namespace, client: Client, payload: bytes) -> int:
    """InvokeWithResponseStream: each piece goes to stdout as it comes."""
    from warmstate.wire.invoke_api import EventStreamDecoder

    path = (
        f"/2021-11-15/functions/{quoted(options.function or '_')}/response-streaming-invocations{_qualifier(options)}"
    )
    answer = client.send("POST", path, data=payload, headers=_headers(options), stream=True)
    if answer.status_code >= 400:
        raise refused(answer)
    decoder = EventStreamDecoder()
    for data in client.pieces(answer):
        for headers, piece in decoder.feed(data):
            if headers[":event-type"] == "PayloadChunk" and not options.json:
                sys.stdout.buffer.write(piece)
                sys.stdout.flush()
    if sys.stdout.isatty() and not options.json:
        print()  # a stream need not end its last line
    found = _details(client, answer)
    return show(options, b"" if not found["outcome"]["function_error"] else found["outcome"]["payload"].encode(), found)


def refused(answer: requests.Response) -> Problem:
    """What the service said instead of running it."""
    code = answer.headers.get("x-amzn-errortype", "")
    try:
        message = str(answer.json().get("message") or answer.json().get("Message"))
    except ValueError:
        message = f"the emulator answered with status {answer.status_code}"
    if answer.status_code == 429:
        fix = "wait, or raise the limit: warmstate dev --max-instances N"
        return Problem("WS901", f"{code}: {message}", why="every instance is busy", fix=fix, exit=EXIT_THROTTLED)
    fixes = {
        "ResourceNotFoundException": "warmstate ps shows what there is; the name may be left out where there is one function",
        "InvalidRequestContentException": 'an event is JSON: -d \'{"name": "value"}\', or -e FILE',
        "RequestTooLargeException": "6 MB is the most for an event, 1 MB with --async",
    }
    fix = "--client-context takes a JSON object" if "context" in message else fixes.get(code, "")
    if "no instance" in message:
        fix = "warmstate ps shows what there is"
    return Problem("WS201", f"{code}: {message}", fix=fix, exit=EXIT_USAGE)


def _details(client: Client, answer: requests.Response) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/invocations/{quoted(answer.headers['x-amzn-requestid'])}")
    return found


def show(options: argparse.Namespace, payload: bytes, found: dict[str, Any]) -> int:
    """Print the answer, and how it went; returns the exit code."""
    outcome = found["outcome"]
    code = exit_code(outcome)
    expected = getattr(options, "expect_start", None)
    if code == EXIT_OK and expected not in {None, outcome["start"]}:
        code = EXIT_UNEXPECTED
        note(options, f"expected the start {expected}, found {outcome['start']}")
    if options.json:
        print_json({"v": 1, "ok": code == EXIT_OK, "exit": code, "request_id": found["request_id"], **outcome})
        return code
    if payload or not getattr(options, "stream", False):
        sys.stdout.buffer.write(payload + (b"" if payload.endswith(b"\n") else b"\n"))
    sys.stdout.flush()
    if getattr(options, "tail", False):
        note(options, outcome["log"].rstrip("\n"))
    init = f" + init {outcome['init_ms']:.0f}" if outcome["init_ms"] is not None else ""
    init += f" + restore {outcome['restore_ms']:.0f}" if outcome["restore_ms"] is not None else ""
    failed = f" · {outcome['error_type']}" if outcome["function_error"] else ""
    note(
        options,
        f"{outcome['start']} · {outcome['instance']} · {outcome['duration_ms']:.1f} ms{init} · "
        f"billed {outcome['billed_ms']} ms · {outcome['max_memory_mb']} MB{failed}",
    )
    return code


def exit_code(outcome: dict[str, Any]) -> int:
    """What the command ends with, for an invocation's outcome."""
    if not outcome["function_error"]:
        return EXIT_OK
    if outcome["error_type"] == "Sandbox.Timedout":
        return EXIT_TIMED_OUT
    return EXIT_INIT_FAILED if outcome["init_failed"] else EXIT_FUNCTION_ERROR


def _payload(options: argparse.Namespace) -> bytes:
    """The event, from whichever option it comes."""
    given = [value for value in (options.data, options.event_file, options.example) if value is not None]
    if len(given) > 1:
        what = "an event comes from one of -d, -F/-e and -E, not from several"
        raise Problem("WS203", what, fix="leave all but one out", exit=EXIT_USAGE)
    if options.example is not None:
        from warmstate.cli.examples import example

        return json.dumps(example(options.example)).encode()
    if options.event_file is not None:
        return read(options.event_file)
    if options.data is not None:
        return read(options.data[1:]) if options.data.startswith("@") else options.data.encode()
    return b"{}"


def read(path: str) -> bytes:
    """A file, or stdin for "-"."""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        where = os.path.abspath(path)
        what, fix = f"cannot read the event: {error.strerror}", "name a file that can be read, or - for stdin"
        raise Problem("WS204", what, where=where, fix=fix, exit=EXIT_USAGE) from None
