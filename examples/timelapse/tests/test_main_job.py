"""The whole example as a person runs it: photos in, freezes, a crash and a shutdown on the way, a video that plays out."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from examples.timelapse.studio.verify import examine

ROOT = Path(__file__).parents[3]
PHOTOS = 45
PATIENCE = 120_000  # ms, for a browser on a busy machine
# Headless and as root; the rest keeps Chromium from talking to anybody but us.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="module", name="job")
def _job(tmp_path_factory):
    output = tmp_path_factory.mktemp("job")
    command = [
        sys.executable,
        "-m",
        "examples.timelapse",
        "--photos",
        str(PHOTOS),
        "--rate",
        "30",
        "--output",
        str(output),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr
    return output, done.stdout


@pytest.fixture(scope="module", name="site")
def _site(job):
    """The job's folder on a loopback port, with byte ranges as S3 serves them."""

    class Ranges(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            path = Path(self.translate_path(self.path))
            if wanted is None or not path.is_file():
                super().do_GET()
                return
            data = path.read_bytes()
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first or 0), min(int(last or len(data) - 1), len(data) - 1)
            self.send_response(206)
            self.send_header("Content-Type", self.guess_type(str(path)))
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(data)}")
            self.send_header("Content-Length", str(end - begin + 1))
            self.end_headers()
            self.wfile.write(data[begin : end + 1])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranges, directory=str(job[0])))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.process
def test_the_video_has_every_photo_once_and_in_order(job) -> None:
    """Across a killed process and a shutdown, the video is the photos that were sent: decoded, in order, each once."""
    output, _ = job

    found = examine((output / "video" / "timelapse.mp4").read_bytes())

    assert list(range(PHOTOS)) == found.numbers
    assert found.is_sound, found


@pytest.mark.process
def test_the_job_tells_what_happened(job) -> None:
    """At the end stand the photos, the starts of every kind, the costs per photo, and where the video and the page are."""
    output, told = job

    assert f"photos       {PHOTOS}" in told
    assert "2 cold" in told
    assert "1 reset" in told
    assert "ms median" in told
    assert str(output / "video" / "timelapse.mp4") in told
    assert str(output / "player.html") in told


@pytest.mark.process
@pytest.mark.browser
def test_the_video_and_the_page_play_to_their_end(job, site, chromium) -> None:
    """Chromium plays the one file and the page's live view to the end, and decodes every frame."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=PATIENCE)
        try:
            page = browser.new_page()
            page.set_default_timeout(PATIENCE)
            page.goto(f"{site}/player.html")
            page.wait_for_function("document.querySelector('video').ended")
            live = page.evaluate("document.querySelector('video').webkitDecodedFrameCount")
            page.click("#file")
            page.wait_for_function(
                "document.querySelector('video').src.endsWith('timelapse.mp4') && document.querySelector('video').ended",
            )
            whole = page.evaluate("document.querySelector('video').webkitDecodedFrameCount")
            seconds = page.evaluate("document.querySelector('video').duration")
            page.evaluate("document.querySelector('video').currentTime = 0.8")
            page.wait_for_function("!document.querySelector('video').seeking")
        finally:
            browser.close()

    # Every frame was decoded; seeks, as to the first frame of the live view, decode some once more.
    assert PHOTOS <= live
    assert PHOTOS <= whole
    assert pytest.approx(PHOTOS / 25, abs=0.05) == seconds
