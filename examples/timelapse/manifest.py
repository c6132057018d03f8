"""
The manifest: which chunks make the video, in an HLS playlist that any player of live video follows.

Players skip lines that begin with `#` and that they do not know, so two more lines carry what only the function needs. That way
the list that players read and the list that instances trust are one object, and replacing it is the only commit:

    #EXT-X-MAP:URI="init-cff950e55950.mp4"              how to decode what follows
    #EXTINF:2.4,                                        a whole GOP of 60 frames
    seg/00000000-5be1a3f0c2d4.m4s
    #EXT-X-PART:DURATION=0.4,URI="parts/00000060-…"     the open GOP, as far as it is flushed
    #WARMSTATE:{"frames":70,"last_key":"frames/2026-11-20T10-01-09.000Z.jpg",…}
    #CRC:5f0c12aa                                       of all that is above

When a GOP is complete its parts become one segment: a day has 1,440 of them, no matter how often it was flushed.
"""

from __future__ import annotations

import json
import zlib
from typing import NamedTuple

import attrs

KEY = "video/live.m3u8"
_MARK, _CRC = "\n#WARMSTATE:", "\n#CRC:"


class ManifestDamaged(Exception):
    """Raised for a manifest that was not written by this code or did not arrive whole."""


class Chunk(NamedTuple):
    """Frames that lie in one object, `name` (relative to the playlist); `init` names the object that tells how to decode them."""

    name: str
    frames: int
    size: int
    init: str


@attrs.frozen(kw_only=True)
class Manifest:
    """
    The committed state of the video.

    `segments` are whole GOPs, `parts` make up the open one. All photos up to `last_key` are decided: they are among the
    `frames`, or were counted as `bad` or `late`. `generation` and `owner` make each version's bytes, and so its etag, unique.
    """

    frames_per_second: int
    gop: int
    segments: tuple[Chunk, ...] = ()
    parts: tuple[Chunk, ...] = ()
    frames: int = 0
    generation: int = 0
    owner: str = ""
    last_key: str = ""
    bad: int = 0
    late: int = 0
    ended: bool = False

    def to_text(self) -> str:
        """Writes the playlist."""
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:9",
            f"#EXT-X-TARGETDURATION:{-(-self.gop // self.frames_per_second)}",
            "#EXT-X-PLAYLIST-TYPE:EVENT",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            f"#EXT-X-PART-INF:PART-TARGET={self.gop / self.frames_per_second}",
        ]
        init = ""
        for number, chunk in enumerate(self.segments + self.parts):
            if chunk.init != init:
                lines += ["#EXT-X-DISCONTINUITY"] * bool(init) + [f'#EXT-X-MAP:URI="{chunk.init}"']
                init = chunk.init
            seconds = round(chunk.frames / self.frames_per_second, 5)
            if number < len(self.segments):
                lines += [f"#EXTINF:{seconds},", chunk.name]
            else:
                first = ",INDEPENDENT=YES" if number == len(self.segments) else ""
                lines += [f'#EXT-X-PART:DURATION={seconds},URI="{chunk.name}"{first}']
        lines += ["#EXT-X-ENDLIST"] * self.ended
        facts = {field.name: getattr(self, field.name) for field in attrs.fields(Manifest)}
        facts["segments"] = [chunk[1:] for chunk in self.segments]  # their names are above
        text = "\n".join(lines) + _MARK + json.dumps(facts, separators=(",", ":"))
        return f"{text}{_CRC}{zlib.crc32(text.encode()):08x}\n"


def from_text(text: str) -> Manifest:
    """
    Reads what `to_text` wrote.

    Raises:
        ManifestDamaged: it is something else.
    """
    playlist, _, crc = text.rpartition(_CRC)
    try:
        if crc != f"{zlib.crc32(playlist.encode()):08x}\n":
            raise ValueError("the checksum differs")
        facts = json.loads(playlist.rpartition(_MARK)[2])
        names = (line for line in playlist.splitlines() if not line.startswith("#"))
        facts["segments"] = tuple(Chunk(name, *rest) for name, rest in zip(names, facts["segments"], strict=True))
        facts["parts"] = tuple(Chunk(*part) for part in facts["parts"])
        return Manifest(**facts)
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestDamaged(
            f"{KEY} is not a manifest of this example, or not whole ({error}): restore the object's previous version, "
            "or move the folder video/ away and the video is made anew from the photos"
        ) from error
