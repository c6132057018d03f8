"""`warmstate examples` and `invoke -E`: small, true-shaped events of the services that call functions most."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from warmstate.cli.output import print_json
from warmstate.cli.problem import EXIT_OK, EXIT_USAGE, Problem

if TYPE_CHECKING:
    import argparse

__all__ = ["example", "examples"]

_ARN = "arn:aws:{}:us-east-1:123456789012:{}"
_DATA = base64.b64encode(b'{"hello": "world"}').decode()

EVENTS: dict[str, dict[str, Any]] = {
    "apigateway-v2": {
        "version": "2.0",
        "routeKey": "GET /hello",
        "rawPath": "/hello",
        "rawQueryString": "name=world",
        "headers": {"host": "example.execute-api.us-east-1.amazonaws.com"},
        "queryStringParameters": {"name": "world"},
        "requestContext": {"http": {"method": "GET", "path": "/hello"}, "stage": "$default"},
        "isBase64Encoded": False,
    },
    "dynamodb": {
        "Records": [
            {
                "eventID": "1",
                "eventName": "INSERT",
                "eventSource": "aws:dynamodb",
                "dynamodb": {"Keys": {"id": {"S": "1"}}, "NewImage": {"id": {"S": "1"}}, "SequenceNumber": "111"},
                "eventSourceARN": _ARN.format("dynamodb", "table/example/stream/1"),
            }
        ]
    },
    "eventbridge": {
        "version": "0",
        "id": "11112222-3333-4444-5555-666677778888",
        "detail-type": "example",
        "source": "com.example",
        "account": "123456789012",
        "time": "2026-01-01T00:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": {"hello": "world"},
    },
    "kinesis": {
        "Records": [
            {
                "kinesis": {
                    "partitionKey": "1",
                    "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
                    "data": _DATA,
                },
                "eventSource": "aws:kinesis",
                "eventName": "aws:kinesis:record",
                "eventSourceARN": _ARN.format("kinesis", "stream/example"),
            }
        ]
    },
    "s3": {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {
                    "bucket": {"name": "example", "arn": "arn:aws:s3:::example"},
                    "object": {
                        "key": "folder/photo+1.jpg",
                        "size": 1024,
                        "eTag": "0123456789abcdef",
                        "sequencer": "0A1B2C3D",
                    },
                },
            }
        ]
    },
    "sns": {
        "Records": [
            {
                "EventSource": "aws:sns",
                "Sns": {
                    "MessageId": "1",
                    "TopicArn": _ARN.format("sns", "example"),
                    "Subject": None,
                    "Message": "hello",
                    "MessageAttributes": {},
                },
            }
        ]
    },
    "sqs": {
        "Records": [
            {
                "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
                "receiptHandle": "handle",
                "body": '{"hello": "world"}',
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": _ARN.format("sqs", "example"),
            }
        ]
    },
}


def example(name: str) -> dict[str, Any]:
    """
    The event of that name; "sqs:receive-message" and the like mean "sqs".

    Raises:
        Problem: There is none.
    """
    found = EVENTS.get(name) or EVENTS.get(name.partition(":")[0])
    if found is None:
        raise Problem(
            "WS212", f"there is no example event '{name}'", fix=f"one of: {', '.join(EVENTS)}", exit=EXIT_USAGE
        )
    return found


def examples(options: argparse.Namespace) -> int:
    """List them, or print one."""
    if options.name is not None:  # the event alone, even with --json: it is for the stdin of `invoke -e -`
        print(json.dumps(example(options.name), indent=None if options.json else 2))
        return EXIT_OK
    for name in EVENTS:
        if options.json:
            print_json({"v": 1, "name": name})
        else:
            print(name)
    return EXIT_OK
