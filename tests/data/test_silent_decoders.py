"""What Pillow and libtiff say of an image, without its name, never reaches the terminal."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_scrfd import save_detector

PROGRESS = re.compile(r" \d+/\d+ .*\d:\d\d:\d\d$")
PIXELS = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (14, 14, 3), np.uint8)).resize(
        (112, 112), Image.Resampling.NEAREST
    )
)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(compression: str, mode: str = "RGB") -> bytes:
    """Return a TIFF file with turned bits among its pixels."""
    encoded = saved(Image.fromarray(PIXELS).convert(mode), "TIFF", compression=compression)
    third = len(encoded) // 3
    turned = bytes(each ^ 0xFF for each in encoded[third : third + 200])
    return encoded[:third] + turned + encoded[third + 200 :]


def palette(kind: str, **options: object) -> bytes:
    return saved(Image.fromarray(PIXELS).quantize(16), kind, **options)


def damaged_mpo() -> bytes:
    image = Image.fromarray(PIXELS)
    encoded = saved(image, "MPO", save_all=True, append_images=[image])
    at = encoded.index(b"MPF\0") + 8
    return encoded[:at] + b"\xff" * 6 + encoded[at + 6 :]


READ: dict[str, Callable[[], bytes]] = {
    "palette.png": lambda: palette("PNG", transparency=bytes(range(16))),
    "palette.gif": lambda: palette("GIF", transparency=3),
    "pair.jpg": damaged_mpo,
    "fax.tif": lambda: tiff("group4", "1"),
}
REFUSED: dict[str, Callable[[], bytes]] = {
    "lzw.tif": lambda: tiff("tiff_lzw"),
    "deflate.tif": lambda: tiff("tiff_deflate"),
    "adobe.tif": lambda: tiff("tiff_adobe_deflate"),
    "cut.jpg": lambda: saved(Image.fromarray(PIXELS), "JPEG")[:1500],
}


@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "faces"],
        ["pack", "faces", "out.rec", "--size", "112", "--skip-bad"],
        ["pack", "faces", "out", "--size", "112", "--format", "jpeg", "--skip-bad"],
        ["align", "photos", "out", "--detector", "tiny.onnx"],
    ],
)
def test_commands_name_what_they_say(cli, capfd, command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (name, make) in enumerate({**READ, **REFUSED}.items()):
        path = tmp_path / command[1] / f"p{number % 2}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make())
    save_detector(tmp_path / "tiny.onnx")
    if command[0] == "inspect":  # of the large one, on which Pillow has a word, too
        large = saved(Image.new("1", (10_000, 9_500)), "PNG")
        (tmp_path / "faces" / "p0" / "large.png").write_bytes(large)
    done = cli("data", *command)
    assert capfd.readouterr() == ("", "")  # what C code writes goes past Python
    said = [line for line in done.stderr.splitlines() if not PROGRESS.search(line)]
    for line in said:
        assert any(name in line for name in REFUSED) or "none of the" in line, line
    assert not any(name in line for line in said for name in READ)
