"""
The function: photos arrive one by one, and a video of them grows.

Events are doorbells, the bucket is the log. What stays warm is the encoder, which no store could hold; everything that matters
lies in the bucket, and whatever instance comes next goes on from there.
"""

from __future__ import annotations

import itertools
import os
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from warmstate import Context, Event, Shutdown, State, StatefulHandler, Tail, Thaw, resource, state, tail

from .bucket import Conflict, open_bucket
from .options import Options
from .publish import publish
from .triggers import understand
from .video import Doorbell, Video

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OPTIONS = Options.from_environment(os.environ)
FULL = OPTIONS.flush_every + OPTIONS.settle


class Timelapse(StatefulHandler):
    """Appends each photo to the video in the bucket."""

    caught_up: State[bool] = state(default=False)  # with the photos that were there before this instance
    published: State[int] = state(default=0)  # frames in the one playable file, as far as is known
    photos: Tail[Doorbell] = tail(max_items=FULL, max_age=OPTIONS.max_age)

    @resource  # nothing to check: the bucket's session uses no connection that a freeze may have broken
    def video(self) -> Iterator[Video]:
        """The video with its open encoder, which nothing but this process can hold."""
        with closing(open_bucket(OPTIONS.bucket)) as bucket:
            yield Video(bucket, OPTIONS, time.time)

    def handle(self, event: Event, context: Context) -> dict[str, object]:
        wish = understand(event, self.video.bucket.prefix)
        keys = self.missed(context) if wish.tick or not self.caught_up else ()
        for key in itertools.chain(keys, wish.doorbells):
            if self.video.wants(key) and all(bell.key != key for bell in self.photos):
                self.photos.append(Doorbell(key, time.time()), id=wish.doorbells.get(key))
        self.video.encode_settled(list(self.photos))
        if wish.finish:
            self.video.flush(list(self.photos), ended=True)
            self.photos.flush()  # all of it is in the video now
            self.published = publish(self.video.bucket, self.video.manifest)
        elif wish.tick and not self.photos:
            self.video.flush([])  # the camera is asleep
        context.defer(self.photos)  # what came through a queue and is not in the video yet stays in the queue too
        return {"start": context.start, "held": len(self.photos), "frames": self.video.manifest.frames}

    def missed(self, context: Context) -> Iterator[str]:
        """Gives photos whose events never came, while there is room: after a start, what the instance before had not committed."""
        spare = min(10, context.remaining / 2)
        for key in self.video.undecided():
            self.video.encode_settled(list(self.photos))  # one after the other, so that time is never short for a flush
            if len(self.photos) >= FULL:
                self.photos.flush()
            if len(self.photos) >= FULL or context.remaining < spare:
                return  # the next event or tick goes on from here
            yield key
        self.caught_up = True

    @photos.flush
    def write(self, batch: Sequence[Doorbell]) -> int:
        return min(len(batch), self.video.flush(list(self.photos)))

    def on_thaw(self, thaw: Thaw) -> None:
        if self.photos and thaw.frozen_for > 10:
            self.video.load()  # another instance may have gone on meanwhile

    def after_response(self, context: Context) -> None:
        if 0 < OPTIONS.publish_every <= self.video.manifest.frames - self.published:
            with suppress(Conflict):  # another instance publishes
                self.published = publish(self.video.bucket, self.video.manifest, OPTIONS.publish_every)

    def before_shutdown(self, shutdown: Shutdown) -> None:
        if self.photos:
            self.video.hurry = True  # the flush that follows commits what it has and reads nothing more
