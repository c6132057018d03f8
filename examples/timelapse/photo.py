"""From the bytes of somebody's JPEG to a frame of the video: upright, in the video's size, or a clear no."""

from __future__ import annotations

import re
from fractions import Fraction

import av
import av.error
import av.filter

MAX_BYTES = 32 << 20
MAX_PIXELS = 50_000_000
"""A JPEG of a few kilobytes can claim four billion pixels; decoding stops before memory is asked for."""

_UPRIGHT = ("", "", "hflip,", "hflip,vflip,", "vflip,", "transpose=0,", "transpose=1,", "transpose=3,", "transpose=2,")
"""What turns a picture upright, by EXIF orientation 1 to 8."""
_ORIENTATION = re.compile(
    rb"Exif\0\0(?:II.*?\x12\x01\x03\0\x01\0\0\0([\x01-\x08])\0|MM.*?\x01\x12\0\x03\0\0\0\x01\0([\x01-\x08]))", re.DOTALL
)
"""EXIF's entry 0x0112, one short number, in either byte order."""
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
"""What ends a run of coded pixels: no stuffed zero, restart or filling. But for the end of the picture, a length follows."""


class BadPhoto(ValueError):
    """Raised for a photo that cannot become a frame; the message is the reason that the video records."""


class PhotoDecoder:
    """Decodes JPEGs into frames of one size, with black borders where the shape differs. Kept warm: it costs 2 ms to open."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._decoder = self._open()
        self._shape: tuple[int, int, str, int] | None = None
        self._graph = av.filter.Graph()

    def decode(self, jpeg: bytes) -> av.VideoFrame:
        """
        Decodes a photo.

        Raises:
            BadPhoto: it is not a whole JPEG of at most `MAX_BYTES` and `MAX_PIXELS`.
        """
        if len(jpeg) > MAX_BYTES:
            raise BadPhoto(f"larger than {MAX_BYTES >> 20} MiB")
        if not jpeg.startswith(b"\xff\xd8\xff"):
            raise BadPhoto("not a JPEG" if jpeg else "empty")  # an empty packet would end the decoder for good
        if not is_whole(jpeg):
            raise BadPhoto("ends too early")
        try:
            (frame,) = self._decoder.decode(av.Packet(jpeg))
            return self._fit(frame, orientation(jpeg))
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            self._decoder, self._shape = self._open(), None  # an error may leave either in any state
            raise BadPhoto(f"cannot be decoded, or not fitted into the video: {type(error).__name__}") from error

    def _open(self) -> av.VideoCodecContext:
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.thread_count = 1
        # As exact as the usual transform, and an eighth faster.
        decoder.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS), "idct": "xvid"}
        return decoder

    def _fit(self, frame: av.VideoFrame, turned: int) -> av.VideoFrame:
        shape = frame.width, frame.height, frame.format.name, turned
        if shape == (*self._size, "yuvj420p", 1):
            return frame  # as most cameras' are
        if shape != self._shape:
            self._graph, self._shape = self._build(frame, turned), shape
        self._graph.vpush(frame)
        return self._graph.vpull()

    def _build(self, frame: av.VideoFrame, turned: int) -> av.filter.Graph:
        width, height = self._size
        steps = (
            f"{_UPRIGHT[turned]}scale={width}:{height}:force_original_aspect_ratio=decrease:in_range=full:out_range=full,"
            f"format=yuvj420p,pad={width}:{height}:-1:-1,setsar=1,buffersink"
        )
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
        )
        parsed = (step.partition("=") for step in steps.split(","))
        graph.link_nodes(source, *(graph.add(name, arguments or None) for name, _, arguments in parsed)).configure()
        return graph


def orientation(jpeg: bytes) -> int:
    """Reads the EXIF orientation, 1 to 8; 1 where there is none or it makes no sense. (PyAV tells turns, not mirrors.)"""
    found = _ORIENTATION.search(jpeg, 0, 8192)
    return (found[1] or found[2])[0] if found else 1


def is_whole(jpeg: bytes) -> bool:
    """Whether the picture has pixels and an end: the first one, as phones put a film or a second picture behind it."""
    at, has_pixels = 2, False
    while found := _MARKER.search(jpeg, at):
        if found[0] == b"\xff\xd9":
            return has_pixels  # without any, the decoder would show those of the photo before
        has_pixels |= found[0] == b"\xff\xda"
        at = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2], "big")
    return False
