"""YuNet: its outputs decoded as one would by hand, and photos through a file of its form."""

from pathlib import Path

import numpy as np
import pytest
from tiny_yunet import OBJECT, POINTS, save_yunet

from marginface.data.photos.detection import Faces, decode_yunet
from marginface.data.photos.detector import FaceDetector
from marginface.data.photos.face_sources import detected

SIZE = (64, 96)


def by_hand(
    levels: list[tuple[np.ndarray, ...]], size: tuple[int, int], min_score: float
) -> list[tuple[float, list[float], list[list[float]]]]:
    """Cell by cell, in Python's numbers."""
    faces = []
    for stride, (classes, objects, boxes, points) in zip((8, 16, 32), levels, strict=True):
        for row in range(size[0] // stride):
            for column in range(size[1] // stride):
                at = row * (size[1] // stride) + column
                sure = [min(max(float(each[at, 0]), 0.0), 1.0) for each in (classes, objects)]
                score = (sure[0] * sure[1]) ** 0.5
                if score < min_score:
                    continue
                x, y = (column + boxes[at, 0]) * stride, (row + boxes[at, 1]) * stride
                wide, tall = np.exp(boxes[at, 2]) * stride, np.exp(boxes[at, 3]) * stride
                box = [x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2]
                marks = points[at].reshape(5, 2)
                moved = [[(column + a) * stride, (row + b) * stride] for a, b in marks]
                faces.append((score, box, moved))
    return sorted(faces, key=lambda face: -face[0])


def test_decoding_is_that_by_hand() -> None:
    rng = np.random.default_rng(3)
    levels = []
    for stride in (8, 16, 32):
        rows = SIZE[0] // stride * (SIZE[1] // stride)
        parts = (rng.normal(0.5, 0.5, (rows, 1)), rng.normal(0.5, 0.5, (rows, 1)))
        shapes = (rng.normal(size=(rows, 4)), rng.normal(size=(rows, 10)))
        levels.append(tuple(each.astype(np.float32) for each in (*parts, *shapes)))
    faces = decode_yunet(levels, SIZE, 0.4)
    expected = by_hand(levels, SIZE, 0.4)
    assert 10 < len(faces) == len(expected)
    scores, boxes, points = zip(*expected, strict=True)
    for actual, wanted in ((faces.scores, scores), (faces.boxes, boxes), (faces.points, points)):
        np.testing.assert_allclose(actual, wanted, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("side", [64, "side"], ids=["fixed", "open"])
def test_photos_through_a_file(tmp_path: Path, side: int | str) -> None:
    """Photos are RGB: the network's blue is their last channel."""
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[16:24, 24:32, 2] = 255  # stride 8, row 2, column 3
    other = np.zeros((64, 64, 3), np.uint8)
    other[32:64, 0:32, 0] = 255  # stride 32, row 1, column 0
    detector = FaceDetector(save_yunet(tmp_path / "yunet.onnx", side))
    assert detector.kind.name == "YuNet"
    one, two = detector([photo, other])
    for faces, stride, column, row in ((one, 8, 3, 2), (two, 32, 0, 1)):
        assert len(faces) == 1
        np.testing.assert_allclose(faces.scores, [OBJECT**0.5], rtol=1e-5)
        x, y = column + 0.5, row + 0.5
        box = np.array([x - 2, y - 1, x + 2, y + 1]) * stride
        np.testing.assert_allclose(faces.boxes[0], box, rtol=1e-5)
        np.testing.assert_allclose(
            faces.points[0], np.add(POINTS, [column, row]) * stride, rtol=1e-5
        )


def test_it_is_a_source_of_faces(tmp_path: Path) -> None:
    path = save_yunet(tmp_path / "yunet.onnx")
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[16:24, 24:32, 2] = 255
    (faces,) = detected(path).find(["a.jpg"], [photo])
    assert isinstance(faces, Faces)
    assert len(faces) == 1
