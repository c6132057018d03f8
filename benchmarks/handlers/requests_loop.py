"""The first runtime that everybody writes: a Session of requests in a loop."""

import importlib
import os

import requests

module, _, name = os.environ["_HANDLER"].rpartition(".")
handler = getattr(importlib.import_module(module), name)
base = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
session = requests.Session()
while True:
    invocation = session.get(f"{base}/next", timeout=None)
    request_id = invocation.headers["Lambda-Runtime-Aws-Request-Id"]
    session.post(f"{base}/{request_id}/response", json=handler(invocation.json(), None), timeout=None)
