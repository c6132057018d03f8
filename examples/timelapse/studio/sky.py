"""
Photos for those who have no camera at hand: a hill under a sky from morning to evening, the same every time.

Each photo carries its number as a bar code along its lower edge, wide enough to be read back from the decoded video: that is how
the tests know that every photo is in the video exactly once.
"""

from __future__ import annotations

import io
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float32]

BITS = 24
_CHECK_BITS = 8
_CELLS = BITS + _CHECK_BITS + 2  # one white and one black cell in front


class Sky:
    """Draws photo after photo of `width` by `height` pixels; a day has `day` photos and begins again after them."""

    def __init__(self, width: int = 1280, height: int = 720, day: int = 600, quality: int = 92) -> None:
        self.width, self.height, self.day, self.quality = width, height, day, quality

    def photo(self, number: int) -> bytes:
        """Gives photo `number` as a JPEG."""
        picture = Image.fromarray(self.picture(number))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=self.quality)
        return file.getvalue()

    def picture(self, number: int) -> NDArray[np.uint8]:
        """Gives photo `number` as red, green and blue rows."""
        hour = (number % self.day) / self.day
        light = np.float32(np.sin(np.pi * (0.06 + 0.88 * hour)))  # 0.2 early and late, 1 at noon
        warm = (1 - light) ** np.float32(2)
        across, down = self._across, self._down
        # Air: darker blue overhead, pale at the horizon, red when the sun is low.
        zenith = light * _rgb(62, 118, 205) + warm * _rgb(40, 30, 60)
        horizon = light * _rgb(190, 212, 235) + warm * _rgb(235, 120, 60)
        fade = (down / np.float32(0.72)).clip(0, 1)[:, None]
        picture = np.repeat((zenith * (1 - fade) + horizon * fade)[:, None], self.width, axis=1)
        # The sun on its arc, with a glow around it.
        x = (across - np.float32(0.05 + 0.9 * hour)) ** 2 * np.float32(self.width / self.height) ** 2
        y = (down - (np.float32(0.75) - np.float32(0.65) * light)) ** 2
        glow = sum(
            np.outer(np.exp(-y * size), np.exp(-x * size)) * much
            for size, much in ((60, np.float32(0.5)), (900, np.float32(1)))
        )
        glow += y[:, None] + x < np.float32(0.0007)
        picture += glow[..., None] * _rgb(255, 235, 190)
        # Two layers of cloud that drift at their own speeds.
        lit = light * _rgb(250, 250, 252) + warm * _rgb(150, 90, 70)
        for layer, (speed, squeeze, cover) in enumerate([(0.9, 1, 0.55), (2.2, 2, 0.62)]):
            cloud = ((self._drifting(layer, number * speed, squeeze) - np.float32(cover)) * 4).clip(
                0, np.float32(0.85)
            )[..., None]
            picture += (lit - picture) * cloud
        # Hills in the haze, then noise as a sensor has it.
        low = self.height * 7 // 10
        ground = light * _rgb(48, 78, 40) + _rgb(8, 12, 14)
        meadow = ground * (self._texture[low:, :, None] + np.float32(0.6))
        for ridge, haze in zip(self._ridges, (np.float32(0.55), np.float32(0.2)), strict=True):
            below = (down[low:, None] > ridge)[..., None]
            picture[low:] = np.where(below, meadow * (1 - haze) + horizon * haze, picture[low:])
        noise = np.roll(self._noise, (number * 37 % self.height, number * 101 % self.width), (0, 1))
        pixels = (picture + noise[..., None]).clip(0, 255).astype(np.uint8)
        strip = max(8, self.height // 30)
        pixels[-strip:] = np.repeat(self._bar_code(number), strip, axis=0)[..., None]
        return pixels

    @cached_property
    def _across(self) -> Floats:
        return np.linspace(0, 1, self.width, dtype=np.float32)

    @cached_property
    def _down(self) -> Floats:
        return np.linspace(0, 1, self.height, dtype=np.float32)

    @cached_property
    def _clouds(self) -> list[Floats]:
        return [self._fractal(seed, 2 * self.width) for seed in (1, 2)]

    @cached_property
    def _texture(self) -> Floats:
        leaves = np.random.default_rng(5).normal(0, 0.4, (self.height, self.width)).astype(np.float32)
        return np.asarray(self._fractal(3, self.width, first=5) * np.float32(0.6) + leaves, np.float32)

    @cached_property
    def _noise(self) -> Floats:
        return np.random.default_rng(4).normal(0, 0.9, (self.height, self.width)).astype(np.float32)

    @cached_property
    def _ridges(self) -> list[Floats]:
        x = self._across
        far = 0.76 + 0.03 * np.sin(x * 7 + 1) + 0.015 * np.sin(x * 23)
        near = 0.86 + 0.045 * np.sin(x * 4.1 + 3) + 0.01 * np.sin(x * 37 + 2)
        return [far.astype(np.float32), near.astype(np.float32)]

    def _fractal(self, seed: int, width: int, first: int = 2) -> Floats:
        """Gives noise of many sizes, which clouds and meadows look like; its left edge continues its right one."""
        chance = np.random.default_rng(seed)
        total = np.zeros((self.height, width), np.float32)
        for octave in range(first, 8):
            cells = np.pad(chance.random((2**octave // 2 + 2, 2**octave), np.float32), ((0, 0), (2, 2)), "wrap")
            smooth = Image.fromarray(cells).resize(
                (width, self.height), Image.Resampling.BICUBIC, (2, 0, 2 + 2**octave, 2**octave // 2 + 2)
            )
            total += np.asarray(smooth, np.float32) / 2 ** (octave - first)
        low, high = float(total.min()), float(total.max())
        return np.asarray((total - low) / (high - low), np.float32)

    def _drifting(self, layer: int, shift: float, squeeze: int) -> Floats:
        whole = int(shift * self.width / 1280) % (2 * self.width)
        cloud = np.roll(self._clouds[layer], -whole, axis=1)
        return cloud[:, : self.width * squeeze : squeeze]

    def _bar_code(self, number: int) -> NDArray[np.uint8]:
        value = number << _CHECK_BITS | _check(number)
        bits = [1, 0, *(value >> shift & 1 for shift in reversed(range(BITS + _CHECK_BITS)))]
        cell = np.arange(self.width) * _CELLS // self.width
        return np.asarray([16 + 220 * bit for bit in bits], np.uint8)[cell][None]


def read_number(luma: NDArray[Any]) -> int | None:
    """Reads the number back from the brightness of a frame; None if there is no bar code, or it is damaged."""
    height, width = luma.shape
    row = luma[height - max(8, height // 30) // 2 - 1].astype(float)
    centres = ((np.arange(_CELLS) + 0.5) * width / _CELLS).astype(int)
    levels = np.array([row[centre - 2 : centre + 3].mean() for centre in centres])
    middle = (levels[0] + levels[1]) / 2
    if levels[0] - levels[1] < 60:
        return None
    value = int("".join("1" if level > middle else "0" for level in levels[2:]), 2)
    number = value >> _CHECK_BITS
    return number if value & ((1 << _CHECK_BITS) - 1) == _check(number) else None


def _rgb(red: float, green: float, blue: float) -> Floats:
    return np.array([red, green, blue], np.float32)


def _check(number: int) -> int:
    return (number * 2654435761 >> 13 ^ 0xA5) & ((1 << _CHECK_BITS) - 1)
