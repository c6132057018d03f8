"""
The function: photos arrive one by one, and a video of them grows.

Events are doorbells, the bucket is the log. What stays warm is the encoder, which no store could hold; everything that matters
lies in the bucket, and whatever instance comes next goes on from there.
"""

from __future__ import annotations

import itertools
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from warmstate import Context, Event, Shutdown, State, StatefulHandler, Tail, Thaw, resource, state, tail

from .bucket import Conflict, open_bucket
from .options import Options
from .publish import publish
from .triggers import understand
from .video import Video

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .bucket import Bucket
    from .photo import Photo

OPTIONS = Options.from_environment(os.environ)
FULL = OPTIONS.flush_every + OPTIONS.settle


class Timelapse(StatefulHandler):
    """Appends each photo to the video in the bucket."""

    # With the open encoder, which no store could hold: in memory only.
    warm_video: State[Video | None] = state(default=None, pin=True)
    published: State[int] = state(default=0)  # frames in the one playable file, as far as is known
    photos: Tail[Photo] = tail(max_items=FULL, max_bytes="64 MB", max_age=OPTIONS.max_age)

    @resource(max_age=3600)  # nothing to check: its session uses no connection that a freeze may have broken
    def bucket(self) -> Iterator[Bucket]:
        bucket = open_bucket(OPTIONS.bucket)
        yield bucket
        bucket.close()

    @property
    def video(self) -> Video:
        if self.warm_video is None:
            self.warm_video = Video(self.bucket, OPTIONS, time.time)
        return self.warm_video

    def handle(self, event: Event, context: Context) -> dict[str, object]:
        wish = understand(event, OPTIONS.prefix)
        keys = self.missed(context) if wish.tick or self.warm_video is None else ()
        for key in itertools.chain(keys, wish.doorbells):
            if self.video.wants(key) and all(photo.key != key for photo in self.photos):
                photo = self.video.fetch(self.bucket, key)
                if photo is not None:
                    self.photos.append(photo, id=wish.doorbells.get(key, key))
        self.video.encode_settled(self.photos)
        if wish.finish:
            self.video.flush(self.bucket, list(self.photos), ended=True)
            self.photos.flush()  # all of it is in the video now
            self.published = publish(self.bucket, self.video.manifest)
        elif wish.tick and not self.photos:
            self.video.flush(self.bucket, [])  # the camera is asleep
        if wish.queued:
            context.defer(self.photos)  # what is not in the video yet stays in the queue too
        return {"start": context.start, "held": len(self.photos), "frames": self.video.manifest.frames}

    def missed(self, context: Context) -> Iterator[str]:
        """Gives photos whose events never came, while there is room: after a start, what the instance before had not committed."""
        for key in self.video.undecided(self.bucket):
            if len(self.photos) >= FULL:
                self.photos.flush()
            if len(self.photos) >= FULL or context.remaining < 10:
                return  # the next event or tick goes on from here
            yield key

    @photos.flush
    def write(self, batch: Sequence[Photo]) -> int:
        return min(len(batch), self.video.flush(self.bucket, list(self.photos)))

    def on_thaw(self, thaw: Thaw) -> None:
        if self.warm_video is not None and thaw.frozen_for > 10:
            self.warm_video.load(self.bucket)  # another instance may have gone on meanwhile

    def after_response(self, context: Context) -> None:
        new = self.warm_video.manifest.frames - self.published if self.warm_video else 0
        if 0 < OPTIONS.publish_every <= new:
            with suppress(Conflict):  # another instance publishes
                self.published = publish(self.bucket, self.video.manifest, OPTIONS.publish_every)

    def before_shutdown(self, shutdown: Shutdown) -> None:
        if self.warm_video is not None:
            self.warm_video.hurry = True  # the flush that follows commits what it has and fetches nothing more
