"""Photos larger than Pillow's own limits are read, up to a limit of this library's."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_scrfd import photo_with, save_detector

from marginface.data.images import decode_image, decoded_size, pixel_count
from marginface.data.photos import photos as alignment
from marginface.errors import MarginfaceError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def saved(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind)
    return file.getvalue()


def png(height: int, width: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    encoded = b"\x89PNG\r\n\x1a\n"
    for chunk in (header, data):
        encoded += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return encoded


def jpeg(height: int, width: int) -> bytes:
    return saved("JPEG").replace(struct.pack(">HH", 20, 30), struct.pack(">HH", height, width))


def ppm(height: int, width: int) -> bytes:
    return f"P6 {width} {height} 255\n".encode()


def bmp(height: int, width: int) -> bytes:
    encoded = saved("BMP")
    return encoded[:18] + struct.pack("<ii", width, height) + encoded[26:]


@pytest.mark.parametrize("make", [png, jpeg, ppm, bmp])
@pytest.mark.parametrize(("height", "width"), [(9000, 12000), (12500, 16000)])
def test_photos_of_108_and_200_megapixels_are_opened_without_a_word(
    tmp_path: Path, make: Callable[[int, int], bytes], height: int, width: int
) -> None:
    encoded = make(height, width)
    (tmp_path / "large").write_bytes(encoded)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decoded_size(encoded, "large") == (height, width)
        assert pixel_count(tmp_path / "large") == height * width


@pytest.mark.parametrize("make", [png, jpeg, ppm, bmp])
@pytest.mark.parametrize("side", [20_000, 60_000])
def test_what_is_larger_is_refused_in_one_line(
    make: Callable[[int, int], bytes], side: int
) -> None:
    with pytest.raises(MarginfaceError) as caught:
        decode_image(make(side, side), "huge", None)
    assert str(caught.value) == (
        "huge: the image has more than 268 million pixels; scale it down, or allow more "
        "(--max-megapixels of data align and embed)"
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_the_limit_is_exact(kind: str) -> None:
    encoded = saved(kind)
    assert decode_image(encoded, kind, None, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(MarginfaceError, match=f"{kind}: the image has more than "):
        decode_image(encoded, kind, None, max_pixels=599)


def test_the_decoder_of_plain_jpegs_has_the_same_limit() -> None:
    with pytest.raises(MarginfaceError, match="more than"):
        decode_image(saved("JPEG"), "it", (20, 30), max_pixels=599)


@pytest.mark.slow
def test_a_photo_of_200_megapixels_is_decoded() -> None:
    file = io.BytesIO()
    Image.new("L", (16_000, 12_500), 7).save(file, "PNG", compress_level=1)
    pixels = decode_image(file.getvalue(), "large", None)
    assert pixels.shape == (12_500, 16_000, 3)
    assert pixels.min() == pixels.max() == 7


def test_few_large_photos_are_held_at_once(tmp_path: Path) -> None:
    names = []
    for number, side in enumerate([100, 100, 100, 7000, 7000, 100, 100, 16_000, 100]):
        names.append(f"{number}.png")
        (tmp_path / names[-1]).write_bytes(png(side, side))
    batches = [[int(name[0]) for name in each] for each in alignment._batches(tmp_path, names, 3)]
    assert batches == [[0, 1, 2], [3], [4, 5, 6], [7], [8]]


def test_the_option_of_align(cli, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo_with(250, 250, (16, 8, 8))).save(tmp_path / "photos" / "small.png")
    (tmp_path / "photos" / "large.png").write_bytes(png(1001, 1000))
    model = save_detector(tmp_path / "tiny.onnx")
    folders = tmp_path / "photos", tmp_path / "out"
    done = cli("data", "align", *folders, "--detector", model, "--max-megapixels", 1)
    assert done.status == 0
    assert "skipped 1: unreadable" in done.stdout
    assert "more than 1 million pixels" in (tmp_path / "out" / "alignment.csv").read_text()
