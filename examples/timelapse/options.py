"""What can be set, all of it through environment variables of the function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping


def _even(_: object, field: attrs.Attribute[int], value: int) -> None:
    if value % 2:
        raise ValueError(f"{field.name.upper()}={value}: H.264 wants even numbers")


@attrs.frozen(kw_only=True)
class Options:
    """
    The example's settings; each is read from the variable of the same name in capitals.

    `flush_every` photos make a chunk of the video, so that is how fresh it is. The newest `settle` photos stay out of it
    until newer ones or `max_age` seconds have come, so that events may overtake each other that far.
    `publish_every` frames the one playable file is renewed; 0 leaves that to the event `{"do": "finish"}`.
    """

    bucket: str
    width: int = attrs.field(default=1280, validator=[attrs.validators.ge(64), attrs.validators.le(4096), _even])
    height: int = attrs.field(default=720, validator=[attrs.validators.ge(64), attrs.validators.le(4096), _even])
    frames_per_second: int = attrs.field(default=25, validator=[attrs.validators.ge(1), attrs.validators.le(120)])
    crf: int = attrs.field(default=25, validator=[attrs.validators.ge(0), attrs.validators.le(51)])
    preset: str = "ultrafast"
    x264: str = "cabac=1"
    flush_every: int = attrs.field(default=10, validator=attrs.validators.ge(1))
    settle: int = attrs.field(default=8, validator=attrs.validators.ge(0))
    max_age: int = attrs.field(default=90, validator=attrs.validators.ge(1))
    publish_every: int = attrs.field(default=600, validator=attrs.validators.ge(0))

    @property
    def gop(self) -> int:
        """Frames from one that stands alone to the next: about 60, and a whole number of chunks."""
        return self.flush_every * max(1, 60 // self.flush_every)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Options:
        """
        Reads the settings.

        Raises:
            ValueError: a variable has a value that cannot be used; the message names it.
        """
        if not environment.get("BUCKET"):
            raise ValueError("BUCKET is not set: give s3://name/prefix, or a directory")
        values: dict[str, Any] = {}
        for field in attrs.fields(cls):
            name = field.name.upper()
            if name in environment:
                is_number, text = isinstance(field.default, int), environment[name]
                if is_number and not text.isdecimal():
                    raise ValueError(f"{name}={text!r} is not a whole number")
                values[field.name] = int(text) if is_number else text
        return cls(**values)
