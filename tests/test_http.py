"""HTTP sessions that survive freezes: dead connections are not used, and nothing that must not happen twice does."""

from __future__ import annotations

import http.server
import threading

import pytest
import requests

import warmstate.http
from tests.breaking_proxy import WAYS, BreakingProxy
from tests.warm.doubles import MovedClock
from warmstate.lifecycle.events import Thaw
from warmstate.warm.resources.resource import ResourcePool, resource


class Counting(http.server.ThreadingHTTPServer):
    """Counts each request by method and body; `behave` may close a connection in the middle."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.seen = []
        self.behave = None


class Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # one write an answer, or each waits for a delayed acknowledgement
    server: Counting

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, body.decode()))
        if self.server.behave is not None and self.server.behave(self):
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"ok")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Counting() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(server):
    with BreakingProxy(server.server_address) as proxy:
        yield proxy


@pytest.fixture
def clock():
    return MovedClock()


class Client:
    """A handler whose session is a resource."""

    def __init__(self, clock):
        self.clock = clock

    @resource
    def http(self):
        with warmstate.http.session(clock=self.clock, timeout=(3, 5)) as session:
            yield session


@pytest.mark.parametrize("way", WAYS)
def test_thaws_with_every_connection_dead(way, server, proxy, clock):
    """Freeze after freeze kills every pooled connection in each of four ways: no error, and each POST arrives once."""
    client = Client(clock)
    pool = ResourcePool(client, clock=clock)
    url = f"http://127.0.0.1:{proxy.port}/"
    thaws = 250
    for number in range(thaws):
        assert client.http.post(url, data=f"post-{number}").text == "ok"
        assert client.http.get(url).text == "ok"
        proxy.break_all(way)
        pool.thawed(Thaw(2.0))
        method = ("post", "get", "put", "patch")[number % 4]
        assert client.http.request(method, url, data=f"thawed-{number}").text == "ok"
        proxy.break_all(way)
        clock.pass_time(6)

    posts = [body for method, body in server.seen if method in {"POST", "PATCH"}]
    assert len(posts) == len(set(posts)) == thaws + thaws // 4 * 2 + (thaws % 4 > 0)
    assert pool.info()["http"]["opened"] == 1
    pool.close_all(1)


@pytest.mark.parametrize("way", ["silent", "hung"])
def test_a_plain_session_fails(way, server, proxy):
    """The control: requests' own session hands its handler the dead connection."""
    url = f"http://127.0.0.1:{proxy.port}/"
    with requests.Session() as session:
        session.post(url, data="first", timeout=2)
        proxy.break_all(way)

        with pytest.raises(requests.RequestException):
            session.post(url, data="second", timeout=0.5)


class Reports:
    """A handler whose client carries a token for ten minutes."""

    issued = 0

    def __init__(self, clock, url):
        self.clock, self.url = clock, url

    def open(self):
        session = warmstate.http.session(clock=self.clock)
        Reports.issued += 1
        session.headers["Authorization"] = f"{self.clock.wall() + 600}"
        return session

    @resource(check_after=5, expires=lambda session: float(session.headers["Authorization"]))
    def api(self):
        with self.open() as session:
            yield session

    @api.check
    def api_alive(self, session):
        session.get(self.url).raise_for_status()


@pytest.mark.parametrize("thaws", [60, pytest.param(1_000, marks=pytest.mark.soak)])
def test_thaws_with_an_expired_token(thaws, server, proxy, clock):
    """The peer refuses tokens whose time is over; freezes are longer than that, or far shorter: no refusal reaches the handler."""
    refused = []

    def refuse_expired(handler):
        if float(handler.headers["Authorization"]) > clock.wall():
            return False
        refused.append(handler.path)
        handler.send_error(401)
        return True

    server.behave = refuse_expired
    reports = Reports(clock, f"http://127.0.0.1:{proxy.port}/")
    pool = ResourcePool(reports, clock=clock)
    kept = reports.open()
    for number in range(thaws):
        long = number % 2 == 0
        pool.begin(number)
        assert reports.api.post(reports.url, data=f"a-{number}").status_code == 200
        pool.end(number)
        before = pool.info()["api"]
        seconds = 1200.0 if long else 2.0
        if long:
            proxy.break_all("silent")
        clock.pass_time(seconds)
        pool.begin(-number - 1)
        pool.thawed(Thaw(seconds))
        assert reports.api.post(reports.url, data=f"b-{number}").status_code == 200
        pool.end(-number - 1)
        after = pool.info()["api"]
        assert after["opened"] == before["opened"] + long
        assert after["checks"] == before["checks"]

    posts = [body for method, body in server.seen if method == "POST"]
    assert len(posts) == len(set(posts)) == 2 * thaws
    assert refused == []
    assert kept.post(reports.url, data="control").status_code == 401
    pool.close_all(1)
    kept.close()


def test_connections_are_used_again_when_they_are_fresh(server, proxy, clock):
    """Within the limits one connection carries everything."""
    url = f"http://127.0.0.1:{proxy.port}/"
    with warmstate.http.session(clock=clock) as session:
        for _ in range(20):
            session.post(url, data="x")
            clock.pass_time(0.5)
            session.get(url)
            clock.pass_time(0.4)

    assert proxy.connections == 1


@pytest.mark.parametrize("move", ["pass_time", "jump"])
def test_idle_connections_are_closed_by_either_clock(move, server, proxy, clock):
    """A connection that idled too long is not used, whichever clock says so; a POST trusts for a shorter time than a GET."""
    url = f"http://127.0.0.1:{proxy.port}/"
    with warmstate.http.session(clock=clock) as session:
        session.get(url)
        getattr(clock, move)(4)
        session.get(url)
        assert proxy.connections == 1
        getattr(clock, move)(2)
        session.post(url, data="x")
        assert proxy.connections == 2
        getattr(clock, move)(6)
        session.get(url)

    assert proxy.connections == 3


@pytest.mark.parametrize(("method", "headers", "times"), [
    ("GET", {}, 2),
    ("HEAD", {}, 2),
    ("PUT", {}, 2),
    ("DELETE", {}, 2),
    ("POST", {}, 1),
    ("PATCH", {}, 1),
    ("PUT", {"If-None-Match": "*"}, 1),
    ("DELETE", {"if-match": '"1"'}, 1),
])  # fmt: skip
def test_only_what_is_safe_is_sent_again(method, headers, times, server):
    """A connection that breaks after the request was read: sent again where that changes nothing, else the error is told."""

    def once(handler):
        if len(server.seen) > 1:
            return False
        handler.close_connection = True
        return True

    server.behave = once
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    with warmstate.http.session() as session:
        if times == 2:
            assert session.request(method, url, headers=headers, data="body").status_code == 200
        else:
            with pytest.raises(requests.ConnectionError):
                session.request(method, url, headers=headers, data="body")

    assert len(server.seen) == times


def test_bodies_that_are_streams_are_sent_once(server):
    """A body that can be read only once is never sent again."""
    server.behave = lambda handler: setattr(handler, "close_connection", True) or True
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    with warmstate.http.session() as session, pytest.raises(requests.ConnectionError):
        session.put(url, data=iter([b"a", b"b"]))

    assert len(server.seen) == 1


def test_retries_end(server):
    """A server that breaks every connection is asked twice, not for ever."""
    server.behave = lambda handler: setattr(handler, "close_connection", True) or True
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    with warmstate.http.session() as session, pytest.raises(requests.ConnectionError):
        session.get(url)

    assert len(server.seen) == 2


def test_several_dead_connections_in_one_pool(server, proxy, clock):
    """When the first pooled connection was dead, the others are not tried."""
    url = f"http://127.0.0.1:{proxy.port}/"
    with warmstate.http.session(clock=clock) as session:
        begin = threading.Barrier(5)

        def ask():
            begin.wait()
            session.get(url)

        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        proxy.break_all("silent")

        assert session.get(url).text == "ok"


def test_timeouts_are_there(server):
    """A server that never answers does not hold the handler for ever."""
    released = threading.Event()
    server.behave = lambda _: released.wait(20)
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    with warmstate.http.session(timeout=(1, 0.2)) as session, pytest.raises(requests.Timeout):
        session.post(url, data="x")
    released.set()

    assert len(server.seen) == 1


def test_status_codes_are_the_callers(server):
    """A 503 is an answer, not a reason to try again."""

    def unavailable(handler):
        handler.send_response(503)
        handler.send_header("Retry-After", "60")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.behave = unavailable
    with warmstate.http.session() as session:
        assert session.get(f"http://127.0.0.1:{server.server_address[1]}/").status_code == 503
    assert len(server.seen) == 1


def busy_at_first(server, times, *, status=503, half=False):
    """Lets a server refuse, or break off in the answer to, so many requests."""

    def behave(handler):
        if len(server.seen) > times:
            return False
        handler.send_response(200 if half else status)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"o" if half else b"no")
        handler.close_connection = half
        return True

    server.behave = behave
    return f"http://127.0.0.1:{server.server_address[1]}/"


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("method", "headers", "how", "asked"), [
    ("GET", {}, {"tries": 3}, 3),
    ("PUT", {}, {"tries": 3}, 3),
    ("PUT", {}, {}, 1),
    ("POST", {}, {"tries": 3, "repeats_conditional": True}, 1),
    ("PUT", {"If-Match": '"1"'}, {"tries": 3}, 1),
    ("PUT", {"If-Match": '"1"'}, {"tries": 3, "repeats_conditional": True}, 3),
])  # fmt: skip
def test_a_busy_server_is_asked_again_where_that_is_wanted_and_safe(half, method, headers, how, asked, server):
    """With `tries` an answer that says "not now", or breaks off, is no answer yet; POST and what is conditional must be allowed."""
    url = busy_at_first(server, 2, half=half)
    with warmstate.http.session(**how) as session:
        if asked == 3:
            assert session.request(method, url, headers=headers, data="body").text == "ok"
        elif half:
            with pytest.raises(requests.RequestException):
                session.request(method, url, headers=headers, data="body")
        else:
            assert session.request(method, url, headers=headers, data="body").status_code == 503

    assert [(method, "body")] * asked == server.seen


@pytest.mark.parametrize(("status", "asked"), [(429, 2), (500, 2), (502, 2), (504, 2), (404, 1), (403, 1), (501, 1)])
def test_only_busy_answers_are_asked_about_again(status, asked, server):
    """Other failures would be the same the next time; the last answer is the caller's, whatever it is."""
    url = busy_at_first(server, 9, status=status)
    with warmstate.http.session(tries=2) as session:
        answer = session.get(url)

    assert (status, "no", asked) == (answer.status_code, answer.text, len(server.seen))


def test_conditional_requests_survive_a_lost_answer_where_that_is_wanted(server):
    """Whoever reads back after a conflict may have them sent again; without that they are sent once."""
    server.behave = lambda handler: len(server.seen) == 1 and (setattr(handler, "close_connection", True) or True)
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    with warmstate.http.session(repeats_conditional=True) as session:
        assert session.put(url, data="x", headers={"If-None-Match": "*"}).text == "ok"

    assert len(server.seen) == 2
