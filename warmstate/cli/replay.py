"""`warmstate replay`: the event of an earlier invocation again, or every event of a recording."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from warmstate.cli.client import Client, quoted
from warmstate.cli.invoke import read, refused, show
from warmstate.cli.problem import EXIT_OK, EXIT_USAGE, Problem

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["replay"]


def replay(options: argparse.Namespace) -> int:
    """Send what was recorded, one after the other; the exit code is that of the first that failed."""
    if (options.request_id is None) == (options.recording is None):
        fix = "warmstate replay last    or warmstate replay --from FILE"
        raise Problem("WS205", "which event to replay?", fix=fix, exit=EXIT_USAGE)
    client = Client(options)
    if options.recording is None:
        found = client.post(f"/invocations/{quoted(options.request_id)}/replay")
        return show(options, found["outcome"]["payload"].encode(), found)
    codes = [_send(options, client, recorded) for recorded in _recorded(options.recording)]
    return next((code for code in codes if code != EXIT_OK), EXIT_OK)


def _recorded(path: str) -> Iterator[dict[str, Any]]:
    """The lines of a file that `dev --record` wrote."""
    for number, line in enumerate(read(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            found: dict[str, Any] = json.loads(line)
            recorded = {"client_context": None, "tenant_id": None, **found, "event": found["event"]}
            if not isinstance(found["function"], str):
                raise TypeError("its function is no name")
        except (ValueError, KeyError, TypeError) as error:
            what, fix = "this line is no recorded event", "warmstate dev --record FILE writes such files"
            where = f"{path}, line {number}"
            why = f"{type(error).__name__}: {error}"
            raise Problem("WS204", what, where=where, why=why, fix=fix, exit=EXIT_USAGE) from None
        yield recorded


def _send(options: argparse.Namespace, client: Client, recorded: dict[str, Any]) -> int:
    headers = {"X-Amz-Log-Type": "Tail"}
    if recorded["client_context"] is not None:
        headers["X-Amz-Client-Context"] = base64.b64encode(str(recorded["client_context"]).encode()).decode()
    if recorded["tenant_id"] is not None:
        headers["X-Amz-Tenant-Id"] = str(recorded["tenant_id"])
    path = f"/2015-03-31/functions/{quoted(recorded['function'])}/invocations"
    answer = client.send("POST", path, data=json.dumps(recorded["event"]).encode(), headers=headers)
    if answer.status_code >= 400:
        raise refused(answer)
    found = client.get(f"/invocations/{quoted(answer.headers['x-amzn-requestid'])}")
    return show(options, answer.content, found)
