"""A video of any length at once: frames that were really encoded, repeated under other numbers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .. import manifest as manifests, mp4
from ..bucket import ABSENT
from ..encoder import Encoder
from ..manifest import Chunk, Manifest
from ..photo import PhotoDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..bucket import Bucket
    from ..options import Options

__all__ = ["Footage"]


READABLE = 240
"""How many of the newest frames of a planted video really lie in the bucket: none of the designs reads older ones."""


class Footage:
    """One GOP of real frames, of which videos of any number of frames are made; `photos` are what it shows."""

    def __init__(self, options: Options, photos: Sequence[bytes]) -> None:
        decoder, encoder = PhotoDecoder(options.width, options.height), Encoder(options, 0)
        self._options = options
        self.photos = photos
        self.init = encoder.init
        self._samples = [encoder.encode(decoder.decode(photos[n % len(photos)])) for n in range(options.gop)]

    def chunks(self, frames: int, size: int) -> list[tuple[int, bytes]]:
        """Gives the fragments of a video in chunks of `size` frames, each with its number of frames."""
        counts = [min(size, frames - start) for start in range(0, frames, size)]
        return [(count, mp4.fragment(size * number, self._samples[:count])) for number, count in enumerate(counts)]

    def file(self, frames: int) -> bytes:
        """Gives a video as one file, its index at the front."""
        chunks = self.chunks(frames, self._options.gop)
        table = mp4.index(self._options.frames_per_second, [(count, len(data)) for count, data in chunks])
        return self.init + table + b"".join(data for _, data in chunks)

    def plant(self, bucket: Bucket, frames: int, last_key: str, size: int) -> None:
        """Makes `bucket` hold the video, in chunks of `size` frames, as if `last_key` had been its last photo."""
        init = f"init-{hashlib.sha256(self.init).hexdigest()[:12]}.mp4"
        bucket.put(f"video/{init}", self.init, match=None)
        segments, first = list[Chunk](), 0
        for count, data in self.chunks(frames, size):
            name = f"seg/{first:08d}-{hashlib.sha256(data).hexdigest()[:12]}.m4s"
            if frames - first <= READABLE:
                bucket.put(f"video/{name}", data, match=None)
            segments.append(Chunk(name, count, len(data), init))
            first += count
        manifest = Manifest(
            frames_per_second=self._options.frames_per_second,
            gop=self._options.gop,
            segments=tuple(segments),
            frames=frames,
            generation=1,
            owner="planted",
            last_key=last_key,
        )
        bucket.put(manifests.KEY, manifest.to_text().encode(), match=ABSENT)
