"""A descriptor to log to."""

from __future__ import annotations

import json
import os


class Pipe:
    """A descriptor to log to, and what arrived there."""

    def __init__(self):
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)

    @property
    def bytes(self):
        try:
            return os.read(self.read, 1 << 20)
        except BlockingIOError:
            return b""

    @property
    def lines(self):
        return self.bytes.decode().splitlines()

    @property
    def json(self):
        return [json.loads(line) for line in self.bytes.decode().split("\n") if line]
