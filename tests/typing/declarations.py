"""A handler as users write it: both type checkers read this file in strict mode, and it must be clean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmstate import Buffer, Context, Event, Init, State, StatefulHandler, Tail, state, tail

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Sequence


class Encoder:
    """Something that cannot leave the process."""


@dataclass(frozen=True)
class Photo:
    """A photo that waits for its flush."""

    key: str
    data: bytes


class Timelapse(StatefulHandler):
    """Every form of declaration that the documents show."""

    frames_written: State[int] = state(default=0, survives="reset")
    encoder: State[Encoder | None] = state(default=None, pin=True)
    by_key: State[dict[str, int]] = state(factory=dict)
    recent: State[OrderedDict[str, Photo] | None] = state(default=None)
    counts: State[dict[str, int]] = state(factory=dict, survives="reset", schema=2)
    photos: Tail[Photo] = tail(max_items=25, max_bytes="32 MB", max_age=30)

    @counts.migrate(1)
    def counts_from_1(self, old: list[str]) -> dict[str, int]:
        """Schema 1 was a list of names."""
        return dict.fromkeys(old, 1)

    @photos.flush
    def write_chunk(self, batch: Sequence[Photo]) -> int | None:
        """A flush that may be partial."""
        self.frames_written += len(batch)
        return None

    def on_init(self, init: Init) -> None:
        """Reads and writes slots with their own types."""
        self.encoder = Encoder()
        frames: int = self.frames_written
        self.by_key["frames"] = frames

    def handle(self, event: Event, context: Context) -> object:
        """Appends to a tail, also with an id."""
        self.photos.append(Photo("a", b""), id="a")
        buffer: Buffer[Photo] = self.photos
        total: int = sum(len(photo.data) for photo in buffer)
        del self.frames_written
        return {"waiting": len(self.photos), "bytes": total + self.photos.nbytes}


class Later(Timelapse):
    """Overrides a flush method by its name, and makes another one async."""

    lines: Tail[str] = tail(max_age=5, survives="reset")

    def write_chunk(self, batch: Sequence[Photo]) -> int | None:
        """Only the first item."""
        return min(1, len(batch))

    @lines.flush
    async def write_lines(self, batch: Sequence[str]) -> None:
        """A flush may wait."""


declared: State[int] = Timelapse.frames_written
declared_tail: Tail[Photo] = Timelapse.photos
