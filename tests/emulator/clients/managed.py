"""A runtime client of the tests for Managed Instances: as many threads in next as the environment allows."""

import http.client
import json
import os
import threading
import time

BASE = "/2018-06-01/runtime"


def serve():
    """One slot: next, work, answer with the echoed invocation id."""
    while True:
        connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        connection.request("GET", f"{BASE}/invocation/next")
        answer = connection.getresponse()
        event = json.loads(answer.read())
        if "exit" in event:
            os._exit(event["exit"])
        time.sleep(event.get("sleep", 0))
        path = f"{BASE}/invocation/{answer.headers['Lambda-Runtime-Aws-Request-Id']}/response"
        body = json.dumps({"pid": os.getpid(), "thread": threading.get_ident(), "echo": event})
        headers = {"Lambda-Runtime-Invocation-Id": answer.headers["Lambda-Runtime-Invocation-Id"]}
        connection.request("POST", path, body, headers)
        status = connection.getresponse().status
        print(json.dumps({"status": status, "echo": event}), flush=True)


for _ in range(int(os.environ["AWS_LAMBDA_MAX_CONCURRENCY"])):
    threading.Thread(target=serve).start()
