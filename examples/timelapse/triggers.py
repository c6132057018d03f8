"""What an event means: photos that may be new, a tick of the clock, or a wish."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

PHOTOS = "frames/"
"""Photos lie below this prefix; everything that the function writes lies elsewhere, so that it never wakes itself."""


@attrs.frozen
class Wish:
    """
    What an invocation is for.

    `doorbells` are keys, each with the id of the message in SQS that brought it: they say where to look, and what is in the bucket decides.
    `tick`: look for photos whose events never came. `finish`: bring in the last photos, end the video, publish it.
    """

    doorbells: dict[str, str | None] = attrs.Factory(dict[str, str | None])
    tick: bool = False
    finish: bool = False


def understand(event: Any, prefix: str = "") -> Wish:
    """
    Reads an S3 notification (direct or through SQS), an S3 event of EventBridge, its tick, or `{"do": "finish"}`.

    `prefix` is what keys in the bucket begin with for events, and not for the function, which has a folder of the bucket.

    Raises:
        ValueError: the event is none of these.
    """
    try:
        if event.get("do") in {"finish", "tick"}:
            return Wish(tick=True, finish=event["do"] == "finish")
        if event.get("detail-type") == "Scheduled Event":
            return Wish(tick=True)
        named = ((key.removeprefix(prefix), id) for key, id in _doorbells(event))
        doorbells = {key: id for key, id in named if key.startswith(PHOTOS) and not key.endswith("/")}
        return Wish(doorbells)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # whatever is missing, or of another kind
        shown = json.dumps(event, default=repr)[:200]
        raise ValueError(f"expected an event of S3, SQS or EventBridge, got {shown}") from error


def _doorbells(event: Any) -> Iterator[tuple[str, str | None]]:
    if event.get("source") == "aws.s3":
        yield event["detail"]["object"]["key"], None  # EventBridge gives the key as it is
    elif "Records" in event:
        for record in event["Records"]:
            if "body" in record:
                for number, (key, _) in enumerate(_doorbells(json.loads(record["body"]))):
                    yield key, None if number else record["messageId"]  # S3 sends one photo per message
            else:
                key = unquote_plus(record["s3"]["object"]["key"])  # S3 encodes it as a form does: once
                if record["eventName"].startswith("ObjectCreated"):
                    yield key, None
    elif event.get("Event") != "s3:TestEvent":
        raise ValueError("none of them")
