"""Whatever a camera, or somebody who is not a camera, puts into the bucket."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageOps

from examples.timelapse.photo import MAX_BYTES, MAX_PIXELS, BadPhoto, PhotoDecoder, orientation
from examples.timelapse.studio.sky import Sky, read_number


def jpeg(picture: Image.Image, **how) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, **how)
    return file.getvalue()


def decode(data: bytes, width: int = 320, height: int = 180):
    return PhotoDecoder(width, height).decode(data).to_ndarray(format="gray")


@pytest.fixture
def picture(sky) -> Image.Image:
    return Image.fromarray(sky.picture(77))


class TestGoodOnes:
    @pytest.mark.parametrize(
        "how",
        [
            {},
            {"progressive": True},
            {"subsampling": 0},
            {"subsampling": 1},
            {"optimize": True},
            {"restart_marker_rows": 1},
        ],
    )
    def test_every_kind_of_jpeg_decodes(self, picture, how):
        """Progressive, without chroma subsampling, with restart markers: all of them are photos."""
        assert 77 == read_number(decode(jpeg(picture, **how)))

    @pytest.mark.parametrize("mode", ["L", "CMYK"])
    def test_other_colours_become_the_videos(self, picture, mode):
        """Gray and print colours are turned into the video's, not refused."""
        assert decode(jpeg(picture.convert(mode))).shape == (180, 320)

    def test_gray_keeps_its_brightness(self, picture):
        """A gray photo spans the full range, though it does not say so."""
        gray = np.asarray(picture.convert("L")).astype(int)

        assert abs(decode(jpeg(picture.convert("L"))).astype(int) - gray).mean() < 3

    @pytest.mark.parametrize("size", [(640, 360), (317, 178), (64, 2), (1, 1), (321, 181)])
    def test_other_sizes_are_fitted(self, picture, size):
        """Photos of any size fill the video as far as their shape allows."""
        assert decode(jpeg(picture.resize(size))).shape == (180, 320)

    def test_other_shapes_get_black_borders(self):
        """A portrait photo stands in the middle between black borders, not stretched."""
        frame = decode(jpeg(Image.new("RGB", (90, 180), "white")))

        assert frame[:, :100].max() < 20
        assert frame[:, 130:190].min() > 230

    @pytest.mark.parametrize("value", range(1, 9))
    def test_stands_upright(self, value):
        """Each of the eight EXIF orientations, mirrored ones included, ends upright."""
        picture = Image.new("L", (80, 60))
        picture.paste(255, (0, 0, 40, 30))
        exif = Image.Exif()
        exif[0x0112] = value
        data = jpeg(picture, exif=exif)
        want = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))

        assert value == orientation(data)
        assert abs(decode(data, *want.size).astype(int) - np.asarray(want)).mean() < 2

    @pytest.mark.parametrize("value", [0, 9, 65535])
    def test_senseless_orientation_is_none(self, value):
        """An orientation outside 1 to 8 turns nothing."""
        exif = Image.Exif()
        exif[0x0112] = value

        assert 1 == orientation(jpeg(Image.new("L", (8, 8)), exif=exif))

    @pytest.mark.parametrize(
        "trailer", [b"\0" * 100 + b"trailer", b"film \xff\xda film", jpeg(Image.new("RGB", (90, 60)))[:-40]]
    )
    def test_data_behind_the_picture_is_no_fault(self, picture, trailer):
        """Cameras append films, previews and makers' notes; the photo in front of them is good, whatever is in them."""
        assert 77 == read_number(decode(jpeg(picture) + trailer))

    def test_data_within_a_segment_is_no_end(self, picture):
        """A preview within the photo's own head ends before the photo does."""
        whole, preview = jpeg(picture), jpeg(Image.new("RGB", (90, 60)))
        head = b"\xff\xe2" + (len(preview) + 2).to_bytes(2, "big") + preview

        assert 77 == read_number(decode(whole[:2] + head + whole[2:]))
        with pytest.raises(BadPhoto, match="ends too early"):
            decode(whole[:2] + head + whole[2:-40])


class TestBadOnes:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "empty"),
            (b"hello", "not a JPEG"),
            (b"\x89PNG\r\n\x1a\n", "not a JPEG"),
            (b"\xff\xd8\xff", "ends too early"),
            (b"\xff\xd8\xff\xda\xff\xd9", "ends too early"),
            (b"\xff\xd8\xff\xd9", "ends too early"),
        ],
    )
    def test_reason_is_told(self, data, reason):
        """What is no photo is refused with a reason that a person understands."""
        with pytest.raises(BadPhoto, match=reason):
            decode(data)

    def test_truncated_anywhere_is_noticed(self, picture):
        """However little of the end is missing, a photo that did not arrive whole is not shown."""
        data = jpeg(picture)
        for cut in [*range(1, 40), *range(40, len(data), 97)]:
            with pytest.raises(BadPhoto):
                decode(data[:-cut])

    def test_a_photo_without_pixels_does_not_show_the_one_before(self, picture):
        """A head and an end alone: the decoder, which still has the earlier photo's pixels, is not asked."""
        decoder, data = PhotoDecoder(320, 180), jpeg(picture)
        decoder.decode(data)
        with pytest.raises(BadPhoto, match="ends too early"):
            decoder.decode(data[: data.rindex(b"\xff\xda")] + b"\xff\xd9")

    def test_bomb_is_refused_before_memory_is_asked_for(self, picture):
        """A small file that claims four billion pixels costs nothing."""
        data = bytearray(jpeg(picture))
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = b"\xff\xff\xff\xff"

        with pytest.raises(BadPhoto, match="cannot be decoded"):
            decode(bytes(data))

    def test_pixel_limit_is_the_documented_one(self):
        """Just above the limit is refused, just below is a photo."""
        height = 4000
        width = MAX_PIXELS // height

        assert decode(jpeg(Image.new("L", (width - 200, height)))).shape == (180, 320)
        with pytest.raises(BadPhoto):
            decode(jpeg(Image.new("L", (width + 1, height))))

    @pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
    def test_a_strip_is_refused(self, size):
        """Of a picture so thin nothing would be left in the video."""
        with pytest.raises(BadPhoto, match="not fitted into the video"):
            decode(jpeg(Image.new("RGB", size)))

    def test_too_many_bytes_are_refused(self):
        """A file above the limit is refused, whatever is in it."""
        with pytest.raises(BadPhoto, match="larger than 32 MiB"):
            decode(bytes(MAX_BYTES + 1))

    def test_a_bad_one_does_not_harm_the_next(self, picture):
        """One decoder sees garbage and good photos in turns, and decodes each good one."""
        decoder, chance = PhotoDecoder(320, 180), random.Random(1)
        data = jpeg(picture)
        for _ in range(60):
            broken = bytearray(data)
            for _ in range(chance.randrange(1, 30)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            for bad in (bytes(broken), b"", data[: chance.randrange(len(data))]):
                try:
                    decoder.decode(bad)
                except BadPhoto:
                    pass

            assert 77 == read_number(decoder.decode(data).to_ndarray(format="gray"))


class TestSky:
    def test_is_the_same_every_time(self):
        """The generator is deterministic: two of them draw the same photo."""
        assert Sky(160, 90).photo(5) == Sky(160, 90).photo(5)

    @pytest.mark.parametrize("number", [0, 1, 86_399, (1 << 24) - 1])
    def test_bar_code_reads_back(self, number):
        """Every number up to 24 bits survives drawing and reading."""
        assert number == read_number(Sky(320, 180).picture(number).mean(axis=2))

    def test_no_bar_code_reads_as_none(self):
        """A picture without a bar code has no number, rather than a wrong one."""
        assert read_number(np.zeros((180, 320))) is None
        noise = np.random.default_rng(1).integers(0, 256, (180, 320))
        assert read_number(noise) is None
