"""The growing video, driven step by step without a runtime around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.timelapse.bucket import Missing, Refused
from examples.timelapse.options import Options
from examples.timelapse.publish import KEY as MP4, publish
from examples.timelapse.studio.verify import examine, join_live
from examples.timelapse.video import Doorbell, Video

if TYPE_CHECKING:
    from examples.timelapse.manifest import Manifest


def key(number: int) -> str:
    """Photo keys, a second apart."""
    return f"frames/2026-11-20T{number // 3600:02d}-{number // 60 % 60:02d}-{number % 60:02d}.000Z.jpg"


def make_options(**changes) -> Options:
    return Options(**{"bucket": "-", "width": 320, "height": 180, "flush_every": 5, "settle": 2} | changes)


class Editor:
    """What the handler does with a video, on a plain list as tail and a clock that stands still."""

    def __init__(self, bucket, options: Options | None = None) -> None:
        self.bucket, self.options, self.now = bucket, options or make_options(), 0.0
        self.tail = []
        self.video = Video(bucket, self.options, lambda: self.now)

    def catch_up(self, end: str = "g") -> None:
        """Takes the photos before `end` whose events never came."""
        for name in self.bucket.list("frames/", self.video.manifest.last_key, 1000):
            if name < end:
                self.take(name)

    def take(self, name: str) -> None:
        if self.video.wants(name) and all(bell.key != name for bell in self.tail):
            self.tail.append(Doorbell(name, self.now))
        self.video.encode_settled(self.tail)
        if len(self.tail) >= self.options.flush_every + self.options.settle:
            self.flush()

    def ring(self, *numbers: int) -> None:
        """Doorbells for photos."""
        for number in numbers:
            self.take(key(number))

    def flush(self, **how) -> None:
        del self.tail[: self.video.flush(list(self.tail), **how)]

    def finish_what_is_there(self) -> Manifest:
        """Tries to end the video."""
        self.flush(ended=True)
        return self.video.manifest

    def finish(self) -> list[int | None]:
        """Ends the video and gives the numbers of the photos in it; live and published must agree."""
        self.catch_up()
        self.flush(ended=True)
        publish(self.bucket, self.video.manifest)
        published, live = examine(self.bucket.get(MP4)[0]), examine(join_live(self.bucket))

        assert published.is_sound, published
        assert live == published
        return published.numbers


class Fresh:
    """A bucket with the photos of another and a video of its own."""

    def __init__(self, bucket) -> None:
        self._photos, self._video = bucket, {}

    def get(self, key, start=0, end=None):
        if not key.startswith("video/"):
            return self._photos.get(key, start, end)
        if key not in self._video:
            raise Missing(key)
        return self._video[key][start:end], "etag"

    def put(self, key, data, *, match):
        self._video[key] = data
        return "etag"

    def list(self, prefix, after, limit):
        return self._photos.list(prefix, after, limit)


class Guarded:
    """A bucket that refuses some photos, or all, though it lists them."""

    def __init__(self, bucket, *refused: str) -> None:
        self._bucket, self.refused = bucket, set(refused)

    def __getattr__(self, name):
        return getattr(self._bucket, name)

    def get(self, key, start=0, end=None):
        if key in self.refused or ("*" in self.refused and key.startswith("frames/")):
            raise Refused(f"{key}: 403 AccessDenied")
        return self._bucket.get(key, start, end)
