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

import functools
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
        closed, closed_facts = _closed(self.segments, self.frames_per_second)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:9",
            f"#EXT-X-TARGETDURATION:{-(-self.gop // self.frames_per_second)}",
            "#EXT-X-PLAYLIST-TYPE:EVENT",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            f"#EXT-X-PART-INF:PART-TARGET={self.gop / self.frames_per_second}",
            *closed,
        ]
        before, first = self.segments[-1] if self.segments else None, ",INDEPENDENT=YES"
        for part in self.parts:
            seconds = _seconds(part, self.frames_per_second)
            lines += [*_map(part, before), f'#EXT-X-PART:DURATION={seconds},URI="{part.name}"{first}']
            before, first = part, ""
        lines += ["#EXT-X-ENDLIST"] * self.ended
        facts = attrs.asdict(self, recurse=False, filter=lambda field, _: field.name != "segments")
        text = "\n".join(lines) + _MARK + f'{{"segments":{closed_facts},' + _json(facts)[1:]
        return f"{text}{_CRC}{zlib.crc32(text.encode()):08x}\n"


@functools.lru_cache(maxsize=1)
def _closed(segments: tuple[Chunk, ...], frames_per_second: int) -> tuple[list[str], str]:
    """Writes whole GOPs: lines, and facts without the names that are in them. A day of them takes milliseconds, so only when one is new."""
    lines, before = list[str](), None
    for chunk in segments:
        lines += [*_map(chunk, before), f"#EXTINF:{_seconds(chunk, frames_per_second)},", chunk.name]
        before = chunk
    return lines, _json([chunk[1:] for chunk in segments])


def _map(chunk: Chunk, before: Chunk | None) -> list[str]:
    """Tells how to decode `chunk`, unless it is as the one before."""
    if before and before.init == chunk.init:
        return []
    return ["#EXT-X-DISCONTINUITY"] * bool(before) + [f'#EXT-X-MAP:URI="{chunk.init}"']


def _seconds(chunk: Chunk, frames_per_second: int) -> float:
    return round(chunk.frames / frames_per_second, 5)


def _json(facts: object) -> str:
    return json.dumps(facts, separators=(",", ":"))


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
