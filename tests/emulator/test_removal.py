"""A function that is removed while something goes on in it: nobody waits for what cannot come, and nothing is left."""

import asyncio
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.emulator.conftest import CLIENTS, TASK_ROOT
from warmstate.emulator import Function
from warmstate.emulator.pool import Throttled
from warmstate.emulator.processes import family
from warmstate.emulator.servers.http_server import HttpServer
from warmstate.wire.invoke_api import ApiError

pytestmark = pytest.mark.process

NEVER = ["/bin/sleep", "60"]
PATIENCE = 20.0
"""Seconds that a test waits for what comes at once; the functions take far longer."""


def eventually(look, wanted):
    """Whether `look` comes to see what is wanted."""
    end = time.monotonic() + PATIENCE
    while look() != wanted and time.monotonic() < end:
        time.sleep(0.01)
    return look() == wanted


@pytest.mark.parametrize(
    ("client", "options", "until", "error"),
    [
        ("plain.py", {"runtime": NEVER}, "warmstate.instance", "TooManyRequestsException"),
        ("plain.py", {"runtime": NEVER}, "platform.initStart", "TooManyRequestsException"),
        ("plain.py", {}, "platform.start", "Runtime.ExitError"),
        ("managed.py", {"max_concurrency": 2}, "platform.start", "Runtime.ExitError"),
    ],
)
def test_callers_are_told(emulator, client, options, until, error):
    """Whoever waits for an init or an answer gets an error at once; no process and no folder stays behind."""
    facts = {"runtime": [sys.executable, str(CLIENTS / client)], "timeout": 60, "init_timeout": 60} | options
    begun = emulator.events.last_id
    emulator.add(Function(name="removed", handler="app.Handler", task_root=TASK_ROOT, **facts))
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(emulator.invoke, "removed", {"sleep": 60})
        emulator.events.wait(until, after=begun)
        emulator.remove("removed")
        try:
            told = waiting.result(PATIENCE).error_type
        except ApiError as refused:
            told = refused.code
    assert told == error
    assert_nothing_is_left(emulator)


def test_what_starts_ahead_ends(emulator):
    """So does who waits for it; and what was only about to start does not."""
    never = Function(name="removed", handler="app.Handler", task_root=TASK_ROOT, runtime=NEVER, init_timeout=60)
    begun = emulator.events.last_id
    emulator.add(never)
    pool = emulator._service.pools["removed"]
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(emulator.scale, 2, "removed")
        emulator.events.wait("platform.initStart", after=begun)
        emulator.remove("removed")
        waiting.result(PATIENCE)
    with pytest.raises(Throttled, match="removed is being removed"):
        emulator._do(pool.scale(1))
    assert_nothing_is_left(emulator)


def assert_nothing_is_left(emulator):
    """No process, no folder of a /tmp; the warden buries and unmounts a moment after it was told."""
    warden = emulator._service.warden
    folder = Path(warden.view(warden.directory))
    assert eventually(lambda: (family.children(warden.pid), list(folder.iterdir())), ([], []))


def test_refused_client_that_has_gone():
    """One that closed its connection while its unread body is refused is cut off, and that is no failure of the server."""
    failures = []

    async def run():
        client = socket.socket()

        async def refuse(exchange):
            client.close()
            exchange.respond(413, b"too much")
            served.set()

        served = asyncio.Event()
        server = HttpServer(refuse, on_error=failures.append)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        await server.start()
        client.connect((server.host, server.port))
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        await asyncio.wait_for(served.wait(), PATIENCE)
        await asyncio.sleep(0)
        await server.close()

    asyncio.run(run())
    assert failures == []
