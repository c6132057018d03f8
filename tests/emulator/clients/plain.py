"""A runtime client of the tests: the Runtime API and nothing else, driven by what the event asks for."""

import http.client
import json
import os
import sys
import time
from pathlib import Path

BASE = "/2018-06-01/runtime"


def register(connection):
    """Become an internal extension without events, so that SIGTERM comes; its next is sent and never read."""
    connection.request("POST", "/2020-01-01/extension/register", b'{"events":[]}', {"Lambda-Extension-Name": "plain"})
    answer = connection.getresponse()
    answer.read()
    identifier = answer.headers["Lambda-Extension-Identifier"]
    waiting = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    waiting.request("GET", "/2020-01-01/extension/event/next", headers={"Lambda-Extension-Identifier": identifier})
    return waiting


def handle(event, headers):
    """Do what the event says and tell what this process knows."""
    if "sleep" in event:
        time.sleep(event["sleep"])
    if "exit" in event:
        os._exit(event["exit"])
    if "print" in event:
        print(event["print"], flush=True)
    if "write" in event:
        Path(os.environ["WARMSTATE_TMP"], event["write"]).write_text("kept")
    if "allocate" in event:
        handle.kept = b"x" * (event["allocate"] << 20)
        time.sleep(5)
    if "raise" in event:
        raise ValueError(event["raise"])
    handle.count += 1
    return {
        "pid": os.getpid(),
        "count": handle.count,
        "files": sorted(path.name for path in Path(os.environ["WARMSTATE_TMP"]).iterdir()),
        "headers": {name: value for name, value in headers.items() if name.startswith("Lambda-")},
        "echo": event,
        "environment": dict(os.environ) if event.get("environment") else None,
    }


handle.count = 0
handle.kept = b""


def main():
    """Serve events until the platform goes away."""
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    if "--register" in sys.argv:
        handle.waiting = register(connection)
    while True:
        connection.request("GET", f"{BASE}/invocation/next")
        answer = connection.getresponse()
        event = json.loads(answer.read())
        path = f"{BASE}/invocation/{answer.headers['Lambda-Runtime-Aws-Request-Id']}"
        try:
            body, call = json.dumps(handle(event, answer.headers)), "response"
        except ValueError as error:
            body, call = json.dumps({"errorType": "ValueError", "errorMessage": str(error)}), "error"
        connection.request("POST", f"{path}/{call}", body)
        connection.getresponse().read()


main()
