"""
The ways to append a photo to a video: without state, as good as they get, and with an encoder that stays warm.

Each design gets a bucket that holds the video of N frames as this design would have left it, is handed photos that lie in the
bucket already, and leaves the video extended. All run in this process with boto3's clients and everything imported: what a cold
start costs is left out for all of them. All encode with the same settings.
"""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs
import boto3

from warmstate.testing import Platform

from .. import manifest as manifests, mp4
from ..encoder import Encoder
from ..manifest import Chunk
from ..photo import PhotoDecoder
from ..studio.camera import s3_event
from ..studio.verify import join_live

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..bucket import Bucket
    from ..options import Options
    from .video import Footage

__all__ = ["Classic", "Design", "MicroBatches", "OpenGroup", "SegmentPerPhoto", "Warm", "WholeVideo", "find_ffmpeg"]

PLACES = 6
"""At how many evenly spread places of an open group the design that encodes it again is looked at."""


class Design(Protocol):
    """A way to append photos; `batch` is how many it takes at a time, `name` what the table calls it."""

    name: str
    batch: int

    def prepare(self, bucket: Bucket, footage: Footage, frames: int, key_before: str) -> None:
        """Makes the bucket hold what this design would have made of `frames` photos."""
        ...

    def append(self, keys: Sequence[str]) -> None:
        """Appends the photos with these keys."""
        ...

    def video(self) -> bytes:
        """Gives the whole video, to be looked at."""
        ...

    def close(self) -> None:
        """Lets go of what it holds."""
        ...


class _Stateless:
    """Reads photos and encodes them with what is opened anew each time."""

    name = ""
    batch = 1

    def __init__(self, options: Options) -> None:
        self._options = options

    def prepare(self, bucket: Bucket, footage: Footage, frames: int, key_before: str) -> None:
        self._bucket, self._frames = bucket, frames

    def close(self) -> None:
        pass

    def _encode(self, keys: Sequence[str], first: int) -> list[mp4.Sample]:
        """Gives frames that begin with an IDR frame: an encoder without memory cannot do otherwise."""
        decoder = PhotoDecoder(self._options.width, self._options.height)
        encoder = Encoder(self._options, first)
        return [encoder.encode(decoder.decode(self._bucket.get(key)[0])) for key in keys]


class Classic(_Stateless):
    """Downloads the video, lets ffmpeg append the photo, uploads the video: what most tutorials show, call by call."""

    name = "classic: download, ffmpeg, upload"

    def __init__(self, options: Options, ffmpeg: str, url: str) -> None:
        super().__init__(options)
        self._ffmpeg = ffmpeg
        self._name, _, self._prefix = url.removeprefix("s3://").partition("/")

    def prepare(self, bucket: Bucket, footage: Footage, frames: int, key_before: str) -> None:
        super().prepare(bucket, footage, frames, key_before)
        bucket.put("classic.mp4", footage.file(frames), match=None)
        self._s3 = boto3.client("s3")

    def append(self, keys: Sequence[str]) -> None:
        options = self._options
        folder = Path(tempfile.mkdtemp(prefix="classic-"))
        try:
            self._download("classic.mp4", folder / "old.mp4")
            self._download(keys[0], folder / "photo.jpg")
            (folder / "list").write_text("file old.mp4\nfile new.mp4\n")
            size = f"scale={options.width}:{options.height}"
            self._run(
                folder, "-framerate", "25", "-i", "photo.jpg", "-vf", size, "-c:v", "libx264", "-preset", options.preset,
                "-x264-params", options.x264, "-crf", str(options.crf), "-pix_fmt", "yuv420p", "-video_track_timescale", "12800", "new.mp4",
            )  # fmt: skip
            self._run(folder, "-f", "concat", "-i", "list", "-c", "copy", "-movflags", "+faststart", "whole.mp4")
            self._s3.upload_file(str(folder / "whole.mp4"), self._name, f"{self._prefix}/classic.mp4")
        finally:
            shutil.rmtree(folder)

    def video(self) -> bytes:
        return self._bucket.get("classic.mp4")[0]

    def close(self) -> None:
        self._s3.close()

    def _download(self, key: str, file: Path) -> None:
        self._s3.download_file(self._name, f"{self._prefix}/{key}", str(file))

    def _run(self, folder: Path, *arguments: str) -> None:
        subprocess.run([self._ffmpeg, "-v", "error", "-nostdin", *arguments], cwd=folder, check=True)


class WholeVideo(_Stateless):
    """The same without ffmpeg: joins the bytes in memory. The whole video still moves twice for each photo."""

    name = "whole video, joined in memory"

    def prepare(self, bucket: Bucket, footage: Footage, frames: int, key_before: str) -> None:
        super().prepare(bucket, footage, frames, key_before)
        bucket.put(
            "joined.mp4",
            footage.init + b"".join(data for _, data in footage.chunks(frames, self._options.gop)),
            match=None,
        )

    def append(self, keys: Sequence[str]) -> None:
        video, etag = self._bucket.get("joined.mp4")
        video += mp4.fragment(self._frames, self._encode(keys, 0))
        self._bucket.put("joined.mp4", video, match=etag)
        self._frames += 1

    def video(self) -> bytes:
        return self._bucket.get("joined.mp4")[0]


class _OnPlaylist(_Stateless):
    """Designs that add chunks of so many frames to the playlist instead of moving the video."""

    chunk: int

    def prepare(self, bucket: Bucket, footage: Footage, frames: int, key_before: str) -> None:
        super().prepare(bucket, footage, frames, key_before)
        footage.plant(bucket, frames, key_before, self.chunk)

    def video(self) -> bytes:
        return join_live(self._bucket)

    def _write(self, samples: Sequence[mp4.Sample], last_key: str, *, replace: bool = False) -> None:
        text, etag = self._bucket.get(manifests.KEY)
        manifest = manifests.from_text(text.decode())
        segments = manifest.segments[:-1] if replace else manifest.segments
        first = sum(chunk.frames for chunk in segments)
        data = mp4.fragment(first, samples)
        name = f"seg/{first:08d}-{len(samples):012d}.m4s"
        self._bucket.put(f"video/{name}", data, match=None)
        new = attrs.evolve(
            manifest,
            segments=(*segments, Chunk(name, len(samples), len(data), manifest.segments[0].init)),
            frames=first + len(samples),
            generation=manifest.generation + 1,
            last_key=last_key,
        )
        self._frames = new.frames
        self._bucket.put(manifests.KEY, new.to_text().encode(), match=etag)


class SegmentPerPhoto(_OnPlaylist):
    """Each photo becomes a chunk of its own, which must begin with a frame that stands alone: many times the bytes."""

    name = "a segment per photo"
    chunk = 1

    def append(self, keys: Sequence[str]) -> None:
        self._write(self._encode(keys, 0), keys[-1])


class OpenGroup(_OnPlaylist):
    """
    Encodes the open GOP again for each photo, from the photos: small chunks, and thirty photos read for one.

    What it costs grows from the group's first photo to its last, so it is met at places spread over the group.
    """

    name = "open group encoded again"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.chunk = options.gop
        self._places = itertools.cycle(round(options.gop * (place + 0.5) / PLACES) for place in range(PLACES))

    def prepare(self, bucket: Bucket, footage: Footage, frames: int, key_before: str) -> None:
        super().prepare(bucket, footage, frames, key_before)
        self._earlier = [f"frames/earlier-{number}.jpg" for number in range(self.chunk)]
        for number, key in enumerate(self._earlier):
            bucket.put(key, footage.photos[number % len(footage.photos)], match=None)

    def append(self, keys: Sequence[str]) -> None:
        self._write(self._encode([*self._earlier[: next(self._places) - 1], *keys], 0), keys[-1], replace=True)


class MicroBatches(_OnPlaylist):
    """Waits for so many photos, as a queue can, and encodes them at once: as cheap as it gets, and that much later."""

    def __init__(self, options: Options, batch: int) -> None:
        super().__init__(options)
        self.name = f"micro-batches of {batch}"
        self.batch = self.chunk = batch

    def append(self, keys: Sequence[str]) -> None:
        self._write(self._encode(keys, 0), keys[-1])


class Warm(_OnPlaylist):
    """The function of this example, invoked by the test kit, with an encoder that stays warm."""

    def __init__(self, options: Options, flush_every: int, url: str) -> None:
        super().__init__(options)
        self.name = f"warm, flushed every {flush_every}"
        self._flush_every, self._url, self.chunk = flush_every, url, options.gop

    def prepare(self, bucket: Bucket, footage: Footage, frames: int, key_before: str) -> None:
        super().prepare(
            bucket, footage, frames // self.chunk * self.chunk, key_before
        )  # so that all lengths flush alike
        os.environ |= {
            "BUCKET": self._url,
            "FLUSH_EVERY": str(self._flush_every),
            "PUBLISH_EVERY": "0",
            "MAX_AGE": "3600",
        }
        module = importlib.import_module("examples.timelapse.handler")
        self._platform = Platform(importlib.reload(module).Timelapse)

    def append(self, keys: Sequence[str]) -> None:
        for key in keys:
            answer = self._platform.invoke(s3_event(key, 0))
            if answer.function_error:
                raise RuntimeError(answer.payload.decode())

    def close(self) -> None:
        self._platform.close()


def find_ffmpeg() -> str | None:
    """An ffmpeg program: the system's, or that of the package imageio-ffmpeg."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        return shutil.which("ffmpeg")
    return shutil.which("ffmpeg") or str(get_ffmpeg_exe())
