"""
The function: photos arrive one by one, and a video of them grows.

Events are doorbells, the bucket is the log. What stays warm is the encoder, which no store could hold; everything that matters
lies in the bucket, and whatever instance comes next goes on from there.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from warmstate import Context, Event, Shutdown, State, StatefulHandler, Tail, Thaw, resource, state, tail

from .bucket import open_bucket
from .options import Options
from .publish import Publisher
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
    publisher: State[Publisher] = state(factory=Publisher)
    # By this environment, whatever its processes went through.
    photos_taken: State[int] = state(default=0, survives="reset")
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
        look_around = wish.tick or self.warm_video is None
        for key, id in wish.doorbells.items():
            self.take(key, id)
        if look_around:
            self.catch_up(context)
        self.video.encode_settled(self.photos)
        if wish.tick and not self.photos:
            self.video.flush(self.bucket, [], rest=True)  # the camera is asleep
        if wish.finish:
            self.video.flush(self.bucket, list(self.photos), settle=0, ended=True)
            self.photos.flush()  # all of it is in the video now
            self.publisher.publish(self.bucket, self.video.manifest)
        if wish.queued:
            context.defer(self.photos)  # what is not in the video yet stays in the queue too
        frames, held = self.video.manifest.frames, len(self.photos)
        return {"start": context.start, "taken": self.photos_taken, "held": held, "frames": frames}

    def take(self, key: str, id: str) -> None:
        if self.video.wants(key) and all(photo.key != key for photo in self.photos):
            photo = self.video.fetch(self.bucket, key)
            if photo is not None and self.photos.append(photo, id=id):
                self.photos_taken += 1

    def catch_up(self, context: Context) -> None:
        """Takes the photos whose events never came: after a start, all that the instance before had not committed."""
        for key in self.video.undecided(self.bucket):
            self.take(key, key)
            if len(self.photos) >= FULL:
                self.photos.flush()
            if len(self.photos) >= FULL or context.remaining < 10:
                return  # the next event or tick goes on from here

    @photos.flush
    def write(self, batch: Sequence[Photo]) -> int:
        return min(len(batch), self.video.flush(self.bucket, list(self.photos)))

    def on_thaw(self, thaw: Thaw) -> None:
        if self.warm_video is not None and thaw.frozen_for > 10:
            self.warm_video.load(self.bucket)  # another instance may have gone on meanwhile

    def after_response(self, context: Context) -> None:
        if OPTIONS.publish_every and self.warm_video is not None:
            self.publisher.renew(self.bucket, self.video.manifest, OPTIONS.publish_every)

    def before_shutdown(self, shutdown: Shutdown) -> None:
        if self.warm_video is not None:
            self.warm_video.hurry = True  # the flush that follows commits what it has and fetches nothing more
