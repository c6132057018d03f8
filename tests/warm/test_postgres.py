"""A real PostgreSQL server behind a proxy that breaks connections during freezes: no error reaches the handler."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.breaking_proxy import BreakingProxy
from tests.warm.doubles import Heard, MovedClock
from warmstate.lifecycle.events import Thaw
from warmstate.warm.resources.resource import ResourcePool, resource

psycopg = pytest.importorskip("psycopg", reason="needs psycopg: pip install 'psycopg[binary]'")
pytestmark = [pytest.mark.process]


@pytest.fixture(scope="module")
def server():
    """The address of a PostgreSQL server of its own, on a free port."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    programs = programs[-1].parent
    as_user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    place = tempfile.mkdtemp(prefix="warmstate-postgres-")
    if as_user:
        shutil.chown(place, "postgres", "postgres")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    initdb = [
        f"{programs}/initdb",
        "-D",
        f"{place}/data",
        "-U",
        "test",
        "-A",
        "trust",
        "-N",
        "-E",
        "UTF8",
        "--locale=C",
    ]
    subprocess.run(initdb, check=True, capture_output=True, cwd="/", **as_user)
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "shared_buffers": "8MB",
        "max_connections": "50",
    }
    command = [f"{programs}/postgres", "-D", f"{place}/data", "-p", str(port)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    with Path(f"{place}/log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **as_user)
    try:
        for _ in range(600):
            try:
                connect(port).close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, "the server did not start"
                time.sleep(0.1)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(place, ignore_errors=True)


def connect(port):
    return psycopg.connect(
        host="127.0.0.1", port=port, user="test", dbname="postgres", autocommit=True, connect_timeout=5
    )


class Reports:
    """A handler with a connection."""

    def __init__(self, port):
        self.port = port

    @resource(check_after=1)
    def connection(self):
        connection = connect(self.port)
        yield connection
        connection.close()

    @connection.check
    def connection_alive(self, connection):
        connection.execute("select 1")

    def handle(self):
        return self.connection.execute("select 40 + 2").fetchone()


@pytest.mark.parametrize(("way", "thaws"), [("fin", 350), ("rst", 350), ("silent", 250), ("hung", 50)])
def test_thaws_with_a_dead_connection(way, thaws, server):
    """Freeze after freeze kills the connection: the handler gets a live one, opened at most once a thaw."""
    clock, heard = MovedClock(), Heard()
    with BreakingProxy(server) as proxy:
        handler = Reports(proxy.port)
        pool = ResourcePool(handler, clock=clock, notices=heard)
        for number in range(thaws):
            pool.begin(number)
            assert handler.handle() == (42,)
            pool.end(number)
            proxy.break_all(way)
            before = pool.info()["connection"]["opened"]
            clock.pass_time(5)
            pool.begin(-number - 1)
            pool.thawed(Thaw(5))
            assert handler.handle() == (42,)
            pool.end(-number - 1)
            assert pool.info()["connection"]["opened"] == before + 1
        pool.close_all(5)
        proxy.break_all("fin")


def test_short_gaps_ask_nothing(server):
    """Below check_after the server sees no query but the handler's."""
    clock = MovedClock()
    handler = Reports(server[1])
    pool = ResourcePool(handler, clock=clock, notices=Heard())
    for number in range(50):
        pool.begin(number)
        assert handler.handle() == (42,)
        pool.end(number)
        clock.pass_time(0.5)
        pool.thawed(Thaw(0.4))

    assert pool.info()["connection"]["checks"] == 0
    assert pool.info()["connection"]["opened"] == 1
    pool.close_all(5)


@pytest.mark.parametrize("way", ["fin", "rst", "silent"])
def test_a_kept_connection_fails(way, server):
    """The control: a connection kept in a global fails after the same freeze."""
    with BreakingProxy(server) as proxy:
        connection = connect(proxy.port)
        connection.execute("select 1")
        proxy.break_all(way)

        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
        with contextlib.suppress(psycopg.Error):
            connection.close()
