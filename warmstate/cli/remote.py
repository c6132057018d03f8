"""`warmstate invoke --remote`: the same command on AWS, with boto3 and the account that it finds."""

from __future__ import annotations

import base64
import json
import re
import sys
from typing import TYPE_CHECKING, Any

from warmstate.aws import client
from warmstate.cli.output import note, print_json
from warmstate.cli.problem import (
    EXIT_FUNCTION_ERROR,
    EXIT_OK,
    EXIT_THROTTLED,
    EXIT_TIMED_OUT,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    Problem,
)
from warmstate.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

__all__ = ["remote"]

LOCAL_ONLY = {"on": "--on", "cold": "--cold", "expect_start": "--expect-start", "stream": "--stream"}


def remote(options: argparse.Namespace, payload: bytes) -> int:
    """Send the event; its answer goes to stdout, what AWS reported of it to stderr."""
    if not options.function:
        raise Problem("WS219", "which function?", fix="warmstate invoke NAME --remote", exit=EXIT_USAGE)
    local = [flag for name, flag in LOCAL_ONLY.items() if getattr(options, name)]
    local += ["-n"] if options.repeat > 1 else []
    if local:
        raise Problem("WS219", f"{local[0]} does not go with --remote", fix="leave one of them out", exit=EXIT_USAGE)
    answer = _send(options, payload)
    status = answer["StatusCode"]
    if status in {202, 204}:
        if options.json:
            print_json({"v": 1, "ok": True, "status": status})
        else:
            note(options, "accepted" if status == 202 else "would run")
        return EXIT_OK
    body: bytes = answer["Payload"].read()
    log = base64.b64decode(answer.get("LogResult", "")).decode("utf-8", "replace")
    failed = answer.get("FunctionError")
    code = EXIT_OK if not failed else EXIT_TIMED_OUT if _is_timeout(body) else EXIT_FUNCTION_ERROR
    if options.json:
        about = {"function_error": failed, "payload": body.decode("utf-8", "replace"), "log": log}
        print_json({"v": 1, "ok": not failed, "exit": code, **about})
        return code
    sys.stdout.buffer.write(body + (b"" if body.endswith(b"\n") else b"\n"))
    sys.stdout.flush()
    if options.tail:
        note(options, log.rstrip("\n"))
    report = re.search(r"REPORT RequestId: \S+\s+(.*)", log)
    note(options, " · ".join([*(report[1].split("\t") if report else []), *([failed] if failed else [])]).strip(" ·"))
    return code


def _send(options: argparse.Namespace, payload: bytes) -> Any:
    request = {
        "FunctionName": options.function,
        "Payload": payload,
        "InvocationType": "DryRun" if options.dry_run else "Event" if options.asynchronous else "RequestResponse",
        "LogType": None if options.asynchronous or options.dry_run else "Tail",
        "Qualifier": options.qualifier,
        "ClientContext": options.client_context and base64.b64encode(options.client_context.encode()).decode(),
        "TenantId": options.tenant_id,
    }
    where = {"profile": options.profile, "region_name": options.region, "endpoint_url": options.endpoint_url}
    try:
        lambda_ = client("lambda", **where)
        return lambda_.invoke(**{name: value for name, value in request.items() if value is not None})
    except ConfigurationError:
        what, fix = "boto3 is not installed", "pip install 'warmstate[aws]'"
        raise Problem("WS219", what, fix=fix, exit=EXIT_USAGE) from None
    except Exception as error:
        raise _problem(error) from error


def _problem(error: Exception) -> Problem:
    """What boto3 raises, in our shape; its exceptions are known by name, as their module is not imported here."""
    kind, text = type(error).__name__, " ".join(str(error).split())
    if kind in {
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "NoRegionError",
        "TokenRetrievalError",
    }:
        fix = "aws configure, or --profile NAME and --region NAME"
        return Problem("WS219", "AWS has no account to call this with", why=text, fix=fix, exit=EXIT_USAGE)
    if kind in {"EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"}:
        return Problem(
            "WS303", "AWS does not answer", why=text, fix="check the region and the network", exit=EXIT_UNREACHABLE
        )
    response: dict[str, Any] = getattr(error, "response", {})
    code = str(response.get("Error", {}).get("Code", kind))
    if code == "TooManyRequestsException":
        return Problem("WS901", text, fix="wait, or raise the function's concurrency", exit=EXIT_THROTTLED)
    return Problem(
        "WS219", f"AWS refuses: {code}", why=text, fix="check the name, the region and the permissions", exit=EXIT_USAGE
    )


def _is_timeout(body: bytes) -> bool:
    try:
        return str(json.loads(body).get("errorType")) == "Sandbox.Timedout"
    except (ValueError, AttributeError):
        return False
