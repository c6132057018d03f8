"""`warmstate invoke` and `warmstate replay`: one event to a function, its answer on stdout, the rest on stderr."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from warmstate.cli.client import Client, quoted
from warmstate.cli.functions import configured
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

if TYPE_CHECKING:
    import argparse

    import requests

__all__ = ["invoke", "replay"]


def invoke(options: argparse.Namespace) -> int:
    """Send the event, once or `--repeat` times."""
    payload = _payload(options)
    options.json = options.json or options.output_format == "json"
    options.function = options.function or configured(os.getcwd()).get("default")
    if options.remote:
        from warmstate.cli.remote import remote

        return remote(options, payload)
    client = Client(options)
    if options.stream:
        return _streamed(options, client, payload)
    if options.repeat > 1:
        from warmstate.cli.repeat import repeat

        return repeat(options, payload)
    answer = send(client, options, payload)
    if answer.status_code in {202, 204}:
        done = {"v": 1, "ok": True, "status": answer.status_code, "requestId": answer.headers.get("x-amzn-requestid")}
        if options.json:
            print_json(done)
        else:
            note(options, f"{'accepted' if answer.status_code == 202 else 'would run'} · request {done['requestId']}")
        return EXIT_OK
    return _show(options, answer.content, _details(client, answer))


def send(client: Client, options: argparse.Namespace, payload: bytes) -> requests.Response:
    """
    The request itself.

    Raises:
        Problem: The service refuses it.
    """
    headers = _headers(options)
    path = f"/2015-03-31/functions/{quoted(options.function or '_')}/invocations"
    if options.qualifier:
        path += f"?Qualifier={quoted(options.qualifier)}"
    answer = client.send("POST", path, data=payload, headers=headers)
    if answer.status_code >= 400:
        raise _refused(answer)
    return answer


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
    if options.on:
        headers["X-Warmstate-Instance"] = options.on
    return headers


def _streamed(options: argparse.Namespace, client: Client, payload: bytes) -> int:
    """InvokeWithResponseStream: each piece goes to stdout as it comes."""
    from warmstate.wire.invoke_api import EventStreamDecoder

    path = f"/2021-11-15/functions/{quoted(options.function or '_')}/response-streaming-invocations"
    answer = client.send("POST", path, data=payload, headers=_headers(options), stream=True)
    if answer.status_code >= 400:
        raise _refused(answer)
    decoder = EventStreamDecoder()
    for data in answer.iter_content(None):
        for headers, piece in decoder.feed(data):
            if headers[":event-type"] == "PayloadChunk" and not options.json:
                sys.stdout.buffer.write(piece)
                sys.stdout.flush()
    found = _details(client, answer)
    return _show(options, b"" if not found["outcome"]["functionError"] else found["outcome"]["payload"].encode(), found)


def _refused(answer: requests.Response) -> Problem:
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
    return Problem("WS201", f"{code}: {message}", fix=fixes.get(code, ""), exit=EXIT_USAGE)


def replay(options: argparse.Namespace) -> int:
    """Send a recorded event again."""
    found = Client(options).post(f"/invocations/{quoted(options.request_id)}/replay")
    return _show(options, found["outcome"]["payload"].encode(), found)


def _details(client: Client, answer: requests.Response) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/invocations/{quoted(answer.headers['x-amzn-requestid'])}")
    return found


def _show(options: argparse.Namespace, payload: bytes, found: dict[str, Any]) -> int:
    outcome = found["outcome"]
    code = exit_code(outcome)
    expected = getattr(options, "expect_start", None)
    if code == EXIT_OK and expected not in {None, outcome["start"]}:
        code = EXIT_UNEXPECTED
        note(options, f"expected the start {expected}, found {outcome['start']}")
    if options.json:
        print_json({"v": 1, "ok": code == EXIT_OK, "exit": code, "requestId": found["requestId"], **outcome})
        return code
    if payload or not getattr(options, "stream", False):
        sys.stdout.buffer.write(payload + (b"" if payload.endswith(b"\n") else b"\n"))
    sys.stdout.flush()
    if getattr(options, "tail", False):
        note(options, outcome["log"].rstrip("\n"))
    init = f" + init {outcome['initMs']:.0f}" if outcome["initMs"] is not None else ""
    init += f" + restore {outcome['restoreMs']:.0f}" if outcome["restoreMs"] is not None else ""
    failed = f" · {outcome['errorType']}" if outcome["functionError"] else ""
    note(
        options,
        f"{outcome['start']} · {outcome['instance']} · {outcome['durationMs']:.1f} ms{init} · "
        f"billed {outcome['billedMs']} ms · {outcome['maxMemoryMB']} MB{failed}",
    )
    return code


def exit_code(outcome: dict[str, Any]) -> int:
    """What the command ends with, for an invocation's outcome."""
    if not outcome["functionError"]:
        return EXIT_OK
    if outcome["errorType"] == "Sandbox.Timedout":
        return EXIT_TIMED_OUT
    return EXIT_INIT_FAILED if outcome["initFailed"] else EXIT_FUNCTION_ERROR


def _payload(options: argparse.Namespace) -> bytes:
    """The event, from whichever option it comes."""
    given = [value for value in (options.data, options.event_file, options.example) if value is not None]
    if len(given) > 1:
        raise Problem("WS203", "an event comes from one of -d, -F/-e and -E, not from several", exit=EXIT_USAGE)
    if options.example is not None:
        from warmstate.cli.examples import example

        return json.dumps(example(options.example)).encode()
    if options.event_file is not None:
        return _read(options.event_file)
    if options.data is not None:
        return _read(options.data[1:]) if options.data.startswith("@") else options.data.encode()
    return b"{}"


def _read(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        where = os.path.abspath(path)
        raise Problem("WS204", f"cannot read the event: {error.strerror}", where=where, exit=EXIT_USAGE) from None
