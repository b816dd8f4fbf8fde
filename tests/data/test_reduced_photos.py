"""Large photos are halved where they are scaled down anyway: the same faces in less memory."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_scrfd import POINTS, photo_with, save_detector

from marginface.data import images
from marginface.data.images import decode_image, read_photo
from marginface.data.opening import open_images
from marginface.data.packing.encoding import Encoding
from marginface.data.packing.training_sets import pack
from marginface.data.photos.alignment import template
from marginface.data.photos.landmarks import POINT_COLUMNS

SMOOTH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (10, 15, 3), np.uint8)).resize(
    (300, 200), Image.Resampling.BICUBIC
)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def saved(kind: str, image: Image.Image = SMOOTH, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


KINDS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved("JPEG"),
    "progressive": lambda: saved("JPEG", progressive=True),
    "turned": lambda: saved("JPEG", exif=TURNED),
    "grey": lambda: saved("JPEG", SMOOTH.convert("L")),
    "cmyk": lambda: saved("JPEG", SMOOTH.convert("CMYK")),
    "several": lambda: saved("MPO", save_all=True, append_images=[SMOOTH]),
    "png": lambda: saved("PNG"),
    "palette": lambda: saved("PNG", SMOOTH.quantize(200)),
    "tiff": lambda: saved("TIFF", exif=TURNED),
    "webp": lambda: saved("WEBP"),
}


@pytest.fixture
def limit(monkeypatch) -> Callable[[int], None]:
    return lambda pixels: monkeypatch.setattr(images, "HELD_PIXELS", pixels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("held", "factor"), [(60_000, 1), (59_999, 2), (14_999, 4), (100, 32)])
def test_every_format_is_halved_as_often_as_it_takes(
    kind: str, held: int, factor: int, limit, tmp_path: Path
) -> None:
    (tmp_path / "photo").write_bytes(KINDS[kind]())
    whole, _ = read_photo(tmp_path / "photo")
    limit(held)
    pixels, found = read_photo(tmp_path / "photo")
    assert found == factor
    expected = np.asarray(Image.fromarray(whole).reduce(factor), int)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected)[1:-1, 1:-1].mean() < 3  # 8 blocks of a JPEG are its halving


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_scaled_down_is_the_same_everywhere(kind: str, limit, tmp_path: Path) -> None:
    encoded, size = KINDS[kind](), (64, 64)
    whole = decode_image(encoded, kind, size, resize=True)
    limit(20_000)
    right = decode_image(encoded, kind, size, resize=True)
    assert np.abs(right.astype(int) - whole).mean() < 3
    assert (right != whole).any()
    for person in ("ann", "bo"):
        (tmp_path / "faces" / person).mkdir(parents=True)
        (tmp_path / "faces" / person / "1.jpg").write_bytes(encoded)
    folder = open_images(tmp_path / "faces", size=size, resize=True)
    pack(folder, tmp_path / "s.rec")
    for read in (folder, open_images(tmp_path / "s.rec", size=size, resize=True)):
        np.testing.assert_array_equal(read[1][0], right)
    packed = Encoding(size, "png")(encoded, kind)
    np.testing.assert_array_equal(decode_image(packed, kind, size), right)


@pytest.mark.parametrize("least", [101, 150, 200, 300])
def test_nothing_is_halved_below_what_is_asked_for(least: int, limit) -> None:
    size = (least, least)
    whole = decode_image(saved("JPEG"), "it", size, resize=True)
    limit(20_000)
    np.testing.assert_array_equal(decode_image(saved("JPEG"), "it", size, resize=True), whole)


def points(folder: Path) -> np.ndarray:
    with (folder / "alignment.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return np.reshape([float(row[column]) for column in POINT_COLUMNS], (5, 2))


def test_detected_points_are_those_of_the_whole_photo(printed, limit, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo_with(400, 320, (32, 4, 6))).save(tmp_path / "photos" / "1.png")
    detector = save_detector(tmp_path / "tiny.onnx")
    limit(40_000)  # the block of 32 pixels is one of 16 then, in another colour
    Image.fromarray(photo_with(400, 320, (32, 4, 6))[..., [0, 2, 1]]).save(
        tmp_path / "photos" / "1.png"
    )
    printed("data", "align", tmp_path / "photos", tmp_path / "out", "--detector", detector)
    expected = (POINTS * 16 + [64, 96] + 0.5) * 2 - 0.5
    np.testing.assert_allclose(points(tmp_path / "out"), expected, atol=1e-3)


@pytest.mark.parametrize("side", [50, 110, 220, 230, 270])
def test_a_crop_is_as_sharp_as_the_photo_allows(printed, limit, side: int, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (600, 600, 3), np.uint8)
    large = Image.fromarray(noise).resize((200, 200)).resize((600, 600), Image.Resampling.BICUBIC)
    large.save(tmp_path / "photos" / "1.png")
    face = (template() + 0.5) * (side * 2 / 112) + 20
    entry = {"1.png": [1.0, face.tolist()]}
    (tmp_path / "points.json").write_text(json.dumps(entry))
    crops = []
    for name, held in (("whole", 10**6), ("halved", 100_000)):
        limit(held)
        command = ["data", "align", tmp_path / "photos", tmp_path / name, "--format", "png"]
        least = ["--min-face", 2 * side - 1]  # in pixels of the whole photo
        printed(*command, "--landmarks", tmp_path / "points.json", *least)
        crops.append(np.asarray(Image.open(tmp_path / name / "1.png"), int))
        np.testing.assert_allclose(points(tmp_path / name), face, atol=1e-3)
    if side < 224:  # halved, it has less than two pixels for one of the crop
        np.testing.assert_array_equal(*crops)
    else:
        assert 0 < np.abs(crops[0] - crops[1]).mean() < 2
