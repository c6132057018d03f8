"""
The warm part: an H.264 encoder that stays open between invocations.

A frame of sky differs little from the one before, so the encoder stores the difference, a fraction of the bytes. It can do that only
as long as it remembers the frame before, and that memory cannot be written down. Frames up to the next one that stands alone
(an *IDR frame*) form a group, the *GOP*. Each GOP gets an encoder of its own: a pure function of its photos.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import TYPE_CHECKING

import av

from . import mp4

if TYPE_CHECKING:
    from .options import Options

_COLOURS = {"color_range": 2, "colorspace": 5, "color_primaries": 5, "color_trc": 6}
"""What JPEGs have: the full range, so that nothing is converted and nothing rounded."""
_HEAD_ONLY = {"movflags": "empty_moov+default_base_moof", "use_editlist": "0", "fflags": "+bitexact"}
"""Lets the MP4 writer say how to decode what follows, before there is a frame, and nothing that differs from run to run."""


class Encoder:
    """
    Encodes frames one by one, the first of them as frame number `next_frame` of the video; holds none of them back.

    `init` is the init segment that goes with what comes out. One thread and one context per GOP make the bytes the same
    whenever the same photos are encoded again.
    """

    def __init__(self, options: Options, next_frame: int) -> None:
        self._options = options
        self.next_frame = next_frame
        self._open()

    def encode(self, frame: av.VideoFrame) -> mp4.Sample:
        """Encodes the next frame; it comes out at once."""
        if self.next_frame % self._options.gop == 0 and self.next_frame != self._first:
            self.close()
            self._open()
        frame.pts, frame.time_base = self.next_frame, Fraction(1, self._options.frames_per_second)
        frame.pict_type = 0  # a JPEG calls itself an intra frame, and x264 would obey
        (packet,) = self._context.encode(frame)
        self.next_frame += 1
        return mp4.sample(bytes(packet), bytes(self._context.extradata or b""), idr=packet.is_keyframe)

    def close(self) -> None:
        """Gives back the memory of one GOP at once; what is only forgotten waits for Python's collector, and piles up."""
        self._file.close()

    def _open(self) -> None:
        options, head, self._first = self._options, io.BytesIO(), self.next_frame
        ticks = {"video_track_timescale": str(options.frames_per_second * mp4.FRAME_TICKS)}
        self._file = av.open(head, "w", format="mp4", options=_HEAD_ONLY | ticks)
        # zerolatency: a packet per frame, nothing to wait for when the instance must end. No cuts: only we start a GOP.
        structure = f"keyint={options.gop}:min-keyint={options.gop}:scenecut=0:open-gop=0:{options.x264}"
        how = {"preset": options.preset, "crf": str(options.crf), "tune": "zerolatency", "x264-params": structure}
        stream = self._file.add_stream("libx264", options.frames_per_second, options=how)
        self._context = stream.codec_context
        self._context.width, self._context.height, self._context.pix_fmt = options.width, options.height, "yuvj420p"
        self._context.gop_size, self._context.max_b_frames, self._context.thread_count = options.gop, 0, 1
        for name, value in _COLOURS.items():
            setattr(self._context, name, value)
        self._file.start_encoding()
        self.init = head.getvalue()
