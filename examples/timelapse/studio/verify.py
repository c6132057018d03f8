"""Looks into a finished video: is it whole, and which photos are in it?"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import attrs
import av
import av.error
import av.logging

from ..mp4 import FRAME_TICKS
from .sky import read_number

if TYPE_CHECKING:
    from ..bucket import Bucket


@attrs.frozen
class Findings:
    """
    What decoding a video showed.

    `numbers` are the photos' numbers by their bar codes, None for a frame without one. `gaps` are the frames whose time is not one
    frame after the one before. `complaints` is what the decoder had to say; a good video leaves it silent.
    """

    numbers: list[int | None]
    gaps: list[int]
    complaints: list[str]

    @property
    def is_sound(self) -> bool:
        """Whether it decodes without complaint and without a gap in time."""
        return not self.gaps and not self.complaints

    def __str__(self) -> str:
        return f"{len(self.numbers)} frames, {len(self.gaps)} gaps in time, {len(self.complaints)} complaints of the decoder"


def examine(video: bytes) -> Findings:
    """Decodes all of `video`, an MP4."""
    numbers: list[int | None] = []
    gaps: list[int] = []
    level = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with (
            av.logging.Capture(local=False) as log,
            av.open(io.BytesIO(video), options={"err_detect": "explode"}) as container,
        ):
            stream = container.streams.video[0]
            stream.thread_count = 1
            for count, frame in enumerate(container.decode(stream)):
                numbers.append(read_number(frame.to_ndarray()[: frame.height]))
                if frame.pts != count * FRAME_TICKS:
                    gaps.append(count)
    except av.error.FFmpegError as error:
        return Findings(numbers, gaps, [str(error)])
    finally:
        av.logging.set_level(level)
    return Findings(numbers, gaps, [f"{name}: {text.strip()}" for _, name, text in log])


def join_live(bucket: Bucket) -> bytes:
    """Gives the video that the live playlist describes, its chunks joined as a player appends them."""
    from .. import manifest as manifests

    manifest = manifests.from_text(bucket.get(manifests.KEY)[0].decode())
    data, init = b"", ""
    for chunk in manifest.segments + manifest.parts:
        if chunk.init != init:
            data += bucket.get(f"video/{chunk.init}")[0] if not init else b""
            init = chunk.init
        data += bucket.get(f"video/{chunk.name}")[0]
    return data
