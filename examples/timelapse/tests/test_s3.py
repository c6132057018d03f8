"""What only a real server shows: lost answers, the server's own notifications, and how long a shutdown takes."""

from __future__ import annotations

import http.server
import json
import math
import os
import queue
import selectors
import socket
import threading
import time
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from examples.timelapse import manifest as manifests
from examples.timelapse.bench.meter import Meter
from examples.timelapse.bucket import ABSENT, Conflict, Missing
from examples.timelapse.s3 import S3Bucket
from examples.timelapse.studio import seaweed as seaweed_module
from examples.timelapse.studio.camera import s3_event
from examples.timelapse.studio.seaweed import ACCESS, Seaweed
from examples.timelapse.studio.sky import Sky
from examples.timelapse.studio.verify import examine
from warmstate.emulator import Emulator, Function
from warmstate.testing import Platform

from .conftest import find_weed
from .editor import Editor, key, make_options

pytestmark = pytest.mark.process
ROOT = str(Path(__file__).parents[3])


def test_server_finds_other_ports_when_one_is_taken(tmp_path, aws, monkeypatch):
    """Between the look for a free port and its use anybody may take it; the server then starts on others."""
    choices = []

    def choose(count: int) -> list[int]:
        choices.append(find_ports(count))
        return [taken.getsockname()[1], *choices[-1][1:]] if len(choices) == 1 else choices[-1]

    find_ports = seaweed_module._free_ports
    monkeypatch.setattr(seaweed_module, "_free_ports", choose)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Seaweed(find_weed(), tmp_path)
    try:
        server.make_bucket("tests")
    finally:
        server.stop()

    assert 2 == len(choices)


FAULTS = {"request": {"request", "busy"}, "answer": {"answer", "half"}}
BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Cutter:
    """A road to a server on which the answer to a request can get lost, or the request itself."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lose: str | None = None
        """
        What the next connection that is used loses: the "answer" or the "request", "half" of an answer, or its place, as the
        server is "busy" and says so.
        """
        self._prompt, self._lock = math.inf, threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for ready, _ in selector.select():
                    way = "request" if ready.fileobj is client else "answer"
                    try:
                        data = ready.fileobj.recv(1 << 16)
                    except OSError:
                        return
                    if not data:
                        return
                    if self.lose in FAULTS[way]:
                        fault, self.lose = self.lose, None
                        client.sendall({"half": data[: len(data) // 2], "busy": BUSY}.get(fault, b""))
                        return
                    if way == "answer" and self._is_slow():
                        time.sleep(5.0)
                    try:
                        ready.data.sendall(data)
                    except OSError:  # nobody waits for it any more
                        return

    def slow_down(self, after: float) -> None:
        """So many answers still come at once; each later one takes longer than any budget."""
        with self._lock:
            self._prompt = after

    def _is_slow(self) -> bool:
        with self._lock:
            self._prompt -= 1
            return self._prompt < 0

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def cutter(seaweed):
    cutter = Cutter(int(seaweed.url.rpartition(":")[2]))
    yield cutter
    cutter.close()


@pytest.fixture
def distant(cutter, aws):
    """A bucket at the other end of the cutter's road, with its connections open."""
    bucket = S3Bucket("tests", os.urandom(6).hex(), endpoint_url=cutter.url)
    bucket.put("open", b"", match=None)
    yield bucket
    bucket.close()


def committed(bucket: S3Bucket) -> int:
    """How many frames the manifest has, if there is one."""
    try:
        return manifests.from_text(bucket.get(manifests.KEY)[0].decode()).frames
    except Missing:
        return 0


class TestLostAnswers:
    def test_own_commit_is_recognised(self, distant, cutter):
        """A conditional write whose answer is lost has happened, and is not reported as a conflict with itself."""
        first = distant.put("m", b"1", match=ABSENT)
        cutter.lose = "answer"
        second = distant.put("m", b"2", match=first)

        assert cutter.lose is None
        assert (b"2", second) == distant.get("m")
        assert second != first

    def test_lost_request_is_sent_again(self, distant, cutter):
        """A request that never arrived changes nothing, so it is sent once more."""
        first = distant.put("m", b"1", match=ABSENT)
        cutter.lose = "request"
        second = distant.put("m", b"2", match=first)

        assert cutter.lose is None
        assert (b"2", second) == distant.get("m")

    def test_somebody_elses_commit_stays_a_conflict(self, distant, cutter, seaweed):
        """When the answer is lost and another writer was faster, the loser is told."""
        first = distant.put("m", b"1", match=ABSENT)
        other = S3Bucket("tests", distant.prefix, endpoint_url=seaweed.url)
        other.put("m", b"theirs", match=first)
        cutter.lose = "answer"

        with pytest.raises(Conflict):
            distant.put("m", b"ours", match=first)
        assert b"theirs" == distant.get("m")[0]
        other.close()

    @pytest.mark.parametrize("match", ["fresh", "stale"])
    def test_a_composition_in_doubt_is_a_conflict(self, distant, cutter, monkeypatch, match):
        """When the answer is lost nobody knows whether the store joined the object: who asked must look, as after a conflict."""
        first = distant.put("m", b"1", match=None)
        real = distant._part

        def upload(key, part, piece):
            done = real(key, part, piece)
            cutter.lose = "answer" if part["partNumber"] == "2" else None
            return done

        monkeypatch.setattr(distant, "_part", upload)
        pieces = [b"h" * (5 << 20), b"end"]
        with pytest.raises(Conflict, match="nobody knows"):
            distant.compose("m", pieces, match=first if match == "fresh" else '"another"')
        assert (b"".join(pieces) if match == "fresh" else b"1") == distant.get("m")[0]

    @pytest.mark.parametrize("way", ["answer", "request", "half", "busy"])
    def test_a_video_made_over_a_bad_line_is_whole(self, distant, cutter, photos, way):
        """Every few requests something is lost or refused for now, and the video has each photo once."""
        for number in range(40):
            distant.put(key(number), photos[number], match=None)
        editor = Editor(distant, make_options(flush_every=5))
        for number in range(40):
            if number % 3 == 0:
                cutter.lose = way
            editor.ring(number)

        assert list(range(40)) == editor.finish()


class TestEnvironment:
    def test_a_password_file_does_not_replace_the_signature(self, seaweed, aws, tmp_path, monkeypatch):
        """Requests would send what .netrc has for the host in place of what was signed."""
        netrc = tmp_path / "netrc"
        netrc.write_text("default login somebody password else\n")
        monkeypatch.setenv("NETRC", str(netrc))
        bucket = S3Bucket("tests", os.urandom(6).hex(), endpoint_url=seaweed.url)
        bucket.put("m", b"1", match=ABSENT)

        assert b"1" == bucket.get("m")[0]
        bucket.close()

    def test_a_proxy_is_used(self, cutter, aws, monkeypatch):
        """A store that only the environment's proxy reaches is reached, and no other proxy is asked."""
        monkeypatch.setenv("http_proxy", cutter.url)
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        bucket = S3Bucket("tests", os.urandom(6).hex(), endpoint_url="http://store.invalid:8333")
        bucket.put("m", b"1", match=ABSENT)

        assert b"1" == bucket.get("m")[0]
        bucket.close()


@pytest.fixture(scope="module")
def emulator():
    with Emulator(port=0) as emulator:
        yield emulator


def function(seaweed: Seaweed, bucket: str, **environment: str) -> Function:
    return Function(
        name="timelapse",
        handler="examples.timelapse.handler.Timelapse",
        task_root=ROOT,
        environment={
            "BUCKET": bucket,
            "AWS_ENDPOINT_URL_S3": seaweed.url,
            "WIDTH": "320",
            "HEIGHT": "180",
            "AWS_SESSION_TOKEN": "",
        }
        | ACCESS
        | environment,
        timeout=60,
        max_instances=1,
    )


class Doorbells(http.server.BaseHTTPRequestHandler):
    """Takes SeaweedFS's notifications and gives them the form that S3's have."""

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.put(told)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_driven_by_the_servers_own_notifications(tmp_path, emulator, photos, aws):
    """A photo is put, the server itself tells of it, the function runs: nobody else rings the bell."""
    ears = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Doorbells)
    ears.daemon_threads = True
    ears.heard = queue.Queue()
    listening = threading.Thread(target=ears.serve_forever)
    listening.start()
    config = f"""
[notification.webhook]
enabled = true
endpoint = "http://127.0.0.1:{ears.server_address[1]}/"
event_types = ["create"]
path_prefixes = ["/buckets/cam/yard/frames"]
"""
    server = Seaweed(find_weed(), tmp_path / "weed", config=config)
    try:
        server.make_bucket("cam")
        emulator.add(function(server, "s3://cam/yard", FLUSH_EVERY="5"))
        bucket = S3Bucket("cam", "yard", endpoint_url=server.url)
        rung = []
        for number in range(25):
            bucket.put(key(number), photos[number], match=None)
            while True:
                told = ears.heard.get(timeout=60)
                name = told["key"].removeprefix("/buckets/cam/")
                if name.endswith(".jpg"):
                    break
            rung.append(name)
            answer = emulator.invoke("timelapse", s3_event(quote_plus(name), len(photos[number])))
            assert answer.function_error is None, answer.log_tail
        assert emulator.invoke("timelapse", {"do": "finish"}).function_error is None
        found = examine(bucket.get("video/timelapse.mp4")[0])

        assert sorted(rung) == [f"yard/{key(number)}" for number in range(25)]
        assert found.is_sound, found
        assert list(range(25)) == found.numbers
        bucket.close()
    finally:
        ears.shutdown()
        listening.join()
        ears.server_close()
        server.stop()


def test_shutdown_commits_the_tail(seaweed, aws, photos, make_handler):
    """SIGTERM commits what is encoded with four requests, and encodes nothing: 59 photos less the 8 newest, which must settle."""
    prefix = f"shutdown-{os.urandom(4).hex()}"
    bucket = S3Bucket("tests", prefix, endpoint_url=seaweed.url)
    handler = make_handler(BUCKET=f"s3://tests/{prefix}", AWS_ENDPOINT_URL_S3=seaweed.url, FLUSH_EVERY="60")
    with Platform(handler) as platform:
        for number in range(59):
            bucket.put(key(number), photos[number], match=None)
            assert platform.invoke(s3_event(key(number), 1)).function_error is None
        video = platform.handler.video
        assert (51, 0) == (len(video.encoded), video.manifest.frames)
        with Meter() as list_init_chunk_manifest:
            platform.spindown()

        assert 4 == list_init_chunk_manifest.requests
        assert 59 - 8 == manifests.from_text(bucket.get(manifests.KEY)[0].decode()).frames
        assert platform.invoke({"do": "finish"}).function_error is None
    assert list(range(59)) == examine(bucket.get("video/timelapse.mp4")[0]).numbers
    bucket.close()


@pytest.mark.parametrize("prompt", [0, 2, 3])
def test_losing_the_race_with_the_end_loses_nothing(emulator, seaweed, cutter, aws, photos, prompt):
    """However far the last commit comes before the process is killed, the next instance's video has each photo once."""
    prefix = f"race-{os.urandom(4).hex()}"
    bucket = S3Bucket("tests", prefix, endpoint_url=seaweed.url)
    emulator.add(function(seaweed, f"s3://tests/{prefix}", FLUSH_EVERY="60", AWS_ENDPOINT_URL_S3=cutter.url))
    for number in range(20):
        bucket.put(key(number), photos[number], match=None)
        assert emulator.invoke("timelapse", s3_event(key(number), 1)).function_error is None
    cutter.slow_down(prompt)  # of the answers to list, init, chunk and manifest
    emulator.spindown()
    cutter.slow_down(math.inf)
    frames = committed(bucket)

    assert frames in ({0} if prompt < 3 else {0, 12})
    assert emulator.invoke("timelapse", {"do": "finish"}).function_error is None
    found = examine(bucket.get("video/timelapse.mp4")[0])
    assert found.is_sound, found
    assert list(range(20)) == found.numbers
    bucket.close()


@pytest.mark.soak
def test_shutdown_takes_less_than_the_budget(emulator, seaweed, aws):
    """SIGTERM to the end of the process, with a tail of 59 frames of 720p: the middle one of nine within 300 ms."""
    sky = Sky()
    jpegs = [sky.photo(number) for number in range(59)]
    took = []
    for _ in range(9):
        prefix = f"shutdown-{os.urandom(4).hex()}"
        bucket = S3Bucket("tests", prefix, endpoint_url=seaweed.url)
        emulator.add(function(seaweed, f"s3://tests/{prefix}", FLUSH_EVERY="60", WIDTH="1280", HEIGHT="720"))
        for number, jpeg in enumerate(jpegs):
            bucket.put(key(number), jpeg, match=None)
            assert emulator.invoke("timelapse", s3_event(key(number), len(jpeg))).function_error is None
        since = emulator.events.last_id
        emulator.spindown()
        report = emulator.events.wait("warmstate.shutdown", after=since)
        took.append(report.record["runtimeMs"])
        if not report.record["killed"]:
            assert 59 - 8 == manifests.from_text(bucket.get(manifests.KEY)[0].decode()).frames
        bucket.close()

    print(f"from SIGTERM to the end: {sorted(took)} ms")
    assert sorted(took)[4] < 300, took


def test_queue_keeps_what_is_not_in_the_video(emulator, seaweed, aws, photos):
    """With a queue in front, messages whose photos are not in the video yet are left there, and taken off once they are."""
    prefix = f"queue-{os.urandom(4).hex()}"
    bucket = S3Bucket("tests", prefix, endpoint_url=seaweed.url)
    emulator.add(function(seaweed, f"s3://tests/{prefix}", FLUSH_EVERY="5", SETTLE="2"))
    waiting: dict[str, int] = {}

    def deliver() -> None:
        records = [
            {"messageId": id, "eventSource": "aws:sqs", "body": json.dumps(s3_event(key(number), 1))}
            for id, number in waiting.items()
        ]
        answer = emulator.invoke("timelapse", {"Records": records})
        assert answer.function_error is None, answer.log_tail
        kept = {failure["itemIdentifier"] for failure in answer.json()["batchItemFailures"]}
        for id in set(waiting) - kept:
            del waiting[id]

    for number in range(12):
        bucket.put(key(number), photos[number], match=None)
        waiting[f"message-{number}"] = number
        deliver()
        frames = committed(bucket)

        assert list(range(frames, number + 1)) == sorted(waiting.values())
    assert frames == 10
    bucket.close()
