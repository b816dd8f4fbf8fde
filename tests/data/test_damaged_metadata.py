"""What a file holds beside its picture does not decide whether the picture is read."""

import io
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_faces import FACES, needs_faces

from marginface.data.images import (
    DamagedMetadataWarning,
    decode_image,
    decoded_size,
    encoded_format,
    read_image,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)
ORIENTATION = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
BYTE_UNIT = struct.pack(">HHIBBH", 0x0128, 1, 1, 2, 0, 0)  # a ResolutionUnit is no BYTE


def exif(*entries: bytes, count: int | None = None) -> bytes:
    count = len(entries) if count is None else count
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, count) + b"".join(entries) + bytes(4)


def saved(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    if kind == "WEBP":
        options["lossless"] = True
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def with_chunk(name: bytes, data: bytes, *, crc: int | None = None) -> bytes:
    """Return a PNG with a further chunk behind its header."""
    encoded = saved("PNG")
    crc = zlib.crc32(name + data) if crc is None else crc
    chunk = struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)
    return encoded[:33] + chunk + encoded[33:]


def with_segment(marker: int, data: bytes) -> bytes:
    """Return a JPEG with a further segment at its beginning."""
    encoded = saved("JPEG")
    return encoded[:2] + struct.pack(">HH", marker, len(data) + 2) + data + encoded[2:]


def tiff_with_lost_text() -> bytes:
    """Return a TIFF file with a description that would lie beyond the file's end."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010E] = 6, "by ann, on the hill"
    encoded = saved("TIFF", exif=tags)
    at = encoded.index(struct.pack("<HHI", 0x010E, 2, 20)) + 8
    return encoded[:at] + struct.pack("<I", 2**31) + encoded[at + 4 :]


COMMENT = b"Comment\0\0" + zlib.compress(bytes(2_000_000))
DAMAGED: dict[str, tuple[Callable[[], bytes], bool]] = {  # and whether EXIF turns it all the same
    "jpeg-wrong-type": (lambda: saved("JPEG", exif=exif(ORIENTATION, BYTE_UNIT)), True),
    "png-wrong-type": (lambda: saved("PNG", exif=exif(ORIENTATION, BYTE_UNIT)), True),
    "webp-wrong-type": (lambda: saved("WEBP", exif=exif(ORIENTATION, BYTE_UNIT)), True),
    "tiff-lost-text": (tiff_with_lost_text, True),
    "png-garbage": (lambda: saved("PNG", exif=b"garbage, no EXIF"), False),
    "webp-garbage": (lambda: saved("WEBP", exif=b"garbage, no EXIF"), False),
    "jpeg-garbage": (lambda: saved("JPEG", exif=b"Exif\0\0garbage, no EXIF"), False),
    "jpeg-short-exif": (lambda: saved("JPEG", exif=exif(ORIENTATION, count=9)), True),
    "jpeg-empty-exif": (lambda: saved("JPEG", exif=b"Exif\0\0MM\0*"), False),
    "jpeg-profile": (lambda: with_segment(0xFFE2, b"ICC_PROFILE\0"), False),
    "png-text": (lambda: with_chunk(b"zTXt", COMMENT), False),
    "png-international-text": (
        lambda: with_chunk(b"iTXt", b"Comment\0\1\0\0\0" + COMMENT[9:]),
        False,
    ),
    "png-checksum": (lambda: with_chunk(b"tEXt", b"Comment\0by ann", crc=1), False),
    "png-profile": (lambda: with_chunk(b"iCCP", b"ann\0\7" + COMMENT), False),
    "png-raw-exif": (
        lambda: with_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n4\nno hexadecimals"),
        False,
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_pixels_are_read_with_one_named_warning(kind: str) -> None:
    make, turned = DAMAGED[kind]
    right = decode_image(saved(kind.split("-")[0].upper()), "whole", None)
    right = np.rot90(right, -1) if turned else right
    encoded = make()
    with warnings.catch_warnings(record=True, action="always") as caught:
        warnings.filterwarnings("ignore", module=r"PIL\b")  # the command line shows none
        pixels = decode_image(encoded, "ann/1", None)
        size = decoded_size(encoded, "ann/1")
        image_format = encoded_format(encoded, "ann/1")
    (message,) = {str(each.message) for each in caught}
    assert message.startswith("ann/1: the pixels are read")
    assert {each.category for each in caught} == {DamagedMetadataWarning}
    np.testing.assert_array_equal(pixels, right)
    assert size == right.shape[:2]
    assert image_format == kind.split("-")[0]
    with pytest.warns(DamagedMetadataWarning, match="ann/1"):  # JPEG has a decoder of its own
        np.testing.assert_array_equal(decode_image(encoded, "ann/1", right.shape[:2]), right)


def test_xmp_turns_a_jpeg_in_both_decoders() -> None:
    xmp = b'<x tiff:Orientation="6"/>'
    encoded = with_segment(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)
    turned = np.rot90(decode_image(saved("JPEG"), "it", (24, 16)), -1)
    for size in (None, (16, 24)):
        np.testing.assert_array_equal(decode_image(encoded, "it", size), turned)


def test_whole_metadata_is_worth_no_warning() -> None:
    tags = Image.Exif()
    tags[0x0112], tags[0x010E], tags[0x0128] = 6, "by ann", 2
    turned = np.rot90(PIXELS, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("PNG", "WEBP", "TIFF"):
            np.testing.assert_array_equal(decode_image(saved(kind, exif=tags), kind, None), turned)
        assert decode_image(saved("JPEG", exif=tags), "JPEG", None).shape == turned.shape


@pytest.mark.parametrize("command", [["inspect"], ["pack", "out.rec"]])
def test_commands_take_them_and_name_each_once(tmp_path: Path, command: list[str]) -> None:
    for number, (make, _) in enumerate(DAMAGED.values()):
        folder = tmp_path / "faces" / f"{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(make())
    line = [sys.executable, "-m", "marginface.cli.main", "data", command[0], "faces", *command[1:]]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if "the pixels are read" in line]
    assert len(lines) == len(DAMAGED), "\n".join(lines)
    assert "broken images, such as" not in done.stdout
    named = {line.split("faces/")[1].split(": the pixels are read")[0] for line in lines}
    assert named == {f"{number % 2}/{number}.jpg" for number in range(len(DAMAGED))}


REPEATED = """
import sys, warnings
from marginface.cli import app, main
from marginface.data.images import read_image

def read_three_times(**_):
    for _ in range(3):
        read_image("1.png", None)
        warnings.simplefilter("default", ResourceWarning)

app.app = read_three_times
main.main()
"""


def test_a_command_shows_a_warning_once_though_filters_change(tmp_path: Path) -> None:
    """PyTorch and others change them while they work, and Python forgets what it has shown."""
    (tmp_path / "1.png").write_bytes(DAMAGED["png-text"][0]())
    done = subprocess.run(
        [sys.executable, "-c", REPEATED], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith("marginface: warning: 1.png: the pixels are read")


@needs_faces
@pytest.mark.parametrize(
    ("name", "shape"),
    [("orientation6_wrong_type.jpg", (112, 112, 3)), ("png_2mb_text.png", (112, 112, 3))],
)
def test_files_that_were_met(name: str, shape: tuple[int, ...]) -> None:
    with pytest.warns(DamagedMetadataWarning, match=name):
        assert read_image(FACES / "faults" / name, None).shape == shape
