"""What a comparison draws: photos of any size and shape, boxes where the faces are, the score."""

import os
import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector

import marginface as mf
from marginface.serving import comparison_picture
from marginface.serving.comparing import SAME_PIXELS, Comparer
from marginface.serving.comparison_picture import COLOURS, INK, WIDTH
from marginface.serving.sides import Limits

FACE = (32, 4, 4)  # stride, column, row


@pytest.fixture
def compare(tmp_path: Path) -> Comparer:
    model, detector = save_model(tmp_path / "m.onnx"), save_detector(tmp_path / "d.onnx")
    return mf.comparer(model, detector, limits=Limits(0, 1))


def count(picture: Image.Image, colour: str) -> int:
    return int((np.asarray(picture) == ImageColor.getrgb(colour)).all(axis=2).sum())


@pytest.mark.parametrize("size", [(640, 200), (200, 640), (32, 3000), (3000, 32), (1, 1)])
def test_a_photo_of_any_shape_fits(compare: Comparer, size: tuple[int, int]) -> None:
    has_face = min(size) == 200
    other = photo_with(*size, FACE) if has_face else np.zeros((*size, 3), np.uint8)
    found = compare(photo_with(288, 288, FACE), other)
    picture = found.picture()
    assert (found.score is not None) == has_face
    assert picture.width == WIDTH
    assert picture.height < 900


def test_a_box_lies_where_the_face_is(compare: Comparer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_picture, "write", lambda *_: None)  # letters have the colour
    photo = photo_with(288, 576, FACE)
    picture = np.asarray(compare(photo, np.zeros_like(photo)).picture())
    (left, top, right, bottom), zoom = (64, 64, 192, 192), comparison_picture.COLUMN / 576
    rows, columns = np.nonzero((picture == ImageColor.getrgb(INK)).all(axis=2))
    assert np.ptp(columns) == pytest.approx((right - left) * zoom, abs=4)
    assert np.ptp(rows) == pytest.approx((bottom - top) * zoom, abs=4)
    assert columns.min() - comparison_picture.MARGIN == pytest.approx(left * zoom, abs=3)


def test_several_faces_are_numbered_and_none_is_compared(compare: Comparer) -> None:
    two = photo_with(288, 288, (32, 2, 2), (16, 12, 12))
    found = compare(two, photo_with(288, 288, FACE))
    assert found.answer == "no answer"
    assert len(found.to_json()["photos"][0]["boxes"]) == 2
    assert count(found.picture(), COLOURS["no answer"]) > 1000
    chosen = compare(two, two, face=(1, 0))
    assert [side["face"]["number"] for side in chosen.to_json()["photos"]] == [1, 0]
    assert chosen.picture().height > found.picture().height  # by the axis


def test_a_notebook_shows_the_picture_and_the_words(compare: Comparer, tmp_path: Path) -> None:
    path = tmp_path / "<b>'.png"
    Image.fromarray(photo_with(288, 288, FACE)).save(path)
    found = compare(path, np.zeros((288, 288, 3), np.uint8))
    html = found._repr_html_()
    (encoded,) = re.findall('base64,([^"]+)"', html)
    assert Image.open(BytesIO(b64decode(encoded))).size == found.picture().size
    assert "no answer: the second photo: no face" in html
    path.unlink()
    assert found._repr_html_() == f"<p>{found!r}</p>"  # the answer stays without its photo
    with pytest.raises(mf.MarginfaceError, match="cannot read the image"):
        found.picture()


def test_any_name_is_drawn(compare: Comparer, tmp_path: Path) -> None:
    """A byte that is no UTF-8, and a line break, stand in the answer that the picture measures."""
    names = os.fsdecode(b"n\xff.png"), "a\nb.png"
    for name in names:
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / name)
    assert compare(*(tmp_path / name for name in names)).picture().width == WIDTH


def test_one_photo_twice_is_noted(compare: Comparer) -> None:
    photo = photo_with(288, 288, FACE)
    assert compare(photo, photo).notes == (SAME_PIXELS,)


def test_crops_need_no_detector(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (2, 112, 112, 3), np.uint8)
    found = mf.comparer(save_model(tmp_path / "m.onnx"), limits=Limits(0, 1))(*crops)
    assert found.score is not None
    assert found.picture().width == WIDTH
