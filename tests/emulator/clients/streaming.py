"""A runtime client of the tests that streams: chunks as the event says, then the end, an error, or a cut."""

import base64
import json
import os
import socket
import time

BASE = "/2018-06-01/runtime"


def call(data):
    """Send a request's bytes on a connection of its own and return its whole answer."""
    host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
    with socket.create_connection((host, int(port))) as sock:
        for piece in data:
            sock.sendall(piece)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += sock.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(headers.get(b"content-length", b"0")):
            body += sock.recv(65536)
        return headers, body


def pieces(request_id, event):
    """The pieces of a streamed answer."""
    yield (
        f"POST {BASE}/invocation/{request_id}/response HTTP/1.1\r\nHost: x\r\n"
        "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
        f"Content-Type: {event.get('type', 'text/plain')}\r\n"
        "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n"
    ).encode()
    for text in event["chunks"] * event.get("times", 1):
        data = text.encode()
        yield b"%x\r\n%b\r\n" % (len(data), data)
        time.sleep(event.get("pause", 0))
    if event.get("cut"):
        os._exit(1)
    yield b"0\r\n"
    if "fail" in event:
        body = base64.b64encode(json.dumps({"errorType": "Late", "errorMessage": event["fail"]}).encode()).decode()
        yield f"Lambda-Runtime-Function-Error-Type: Late\r\nLambda-Runtime-Function-Error-Body: {body}\r\n".encode()
    yield b"\r\n"


while True:
    headers, body = call([f"GET {BASE}/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n".encode()])
    event = json.loads(body)
    if "requestContext" in event:
        event = json.loads(event["body"])
    call(pieces(headers[b"lambda-runtime-aws-request-id"].decode(), event))
