"""Photos that lie on a side or stand on their head without an EXIF tag that says so."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_faces import FACES, needs_faces
from tiny_scrfd import POINTS

from marginface.data.images import read_image
from marginface.data.photos.cropping import CropOptions
from marginface.data.photos.detection import NO_FACES, Faces
from marginface.data.photos.face_sources import FaceSource, annotated, detected
from marginface.data.photos.photos import align_photos
from marginface.data.photos.turning import BETTER, SURE, find_in_turns

MODEL = FACES / "weights" / "scrfd_2.5g_bnkps.onnx"

PNG = CropOptions(format="png")
SHAPE = (90, 160, 3)
UPRIGHT = POINTS * 20 + [100, 40]  # x, y in a photo of SHAPE


def face(score: float, clockwise: int = 0, at: tuple[float, float] = (100, 40)) -> Faces:
    """Return a face that is turned by so many degrees, as a detector gives it."""
    turn = np.exp(1j * np.radians(clockwise))
    x, y = (POINTS * 20).T
    turned = (x + 1j * y) * turn
    points = np.stack([turned.real + at[0], turned.imag + at[1]], 1).astype(np.float32)
    box = np.concatenate([points.min(0), points.max(0)])
    return Faces(np.array([score], np.float32), box[None], points[None])


class Looks:
    """A detector that finds given faces in each of a photo's turns, by quarters counterclockwise.

    It tells the turns apart by where the photo's one bright pixel is.
    """

    def __init__(self, *faces: Faces) -> None:
        self.faces, self.seen = faces, 0
        self.photo = np.zeros(SHAPE, np.uint8)
        self.photo[0, 0] = 255

    def __call__(self, photos):
        self.seen += len(photos)
        return [self.faces[self.quarters(photo)] for photo in photos]

    @staticmethod
    def quarters(photo: np.ndarray) -> int:
        corners = [(0, 0), (-1, 0), (-1, -1), (0, -1)]
        return next(number for number, at in enumerate(corners) if photo[at].all())

    def found(self) -> Faces:
        return find_in_turns(self, [self.photo])[0]


def turned(points: np.ndarray, quarters: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return where points go when a photo is turned counterclockwise, step by step."""
    height, width = shape[:2]
    for _ in range(quarters):
        points = np.stack([points[:, 1], width - 1 - points[:, 0]], axis=1)
        height, width = width, height
    return points


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_points_and_boxes_come_back_to_the_photo(quarters):
    upright = face(0.85, at=(40, 50))
    looks = [NO_FACES] * 4
    looks[quarters] = upright
    found = Looks(*looks).found()
    np.testing.assert_allclose(turned(found.points[0], quarters), upright.points[0], atol=1e-4)
    corners = turned(found.boxes.reshape(2, 2), quarters)
    np.testing.assert_allclose(corners.min(0), upright.boxes[0, :2], atol=1e-4)
    np.testing.assert_allclose(corners.max(0), upright.boxes[0, 2:], atol=1e-4)
    np.testing.assert_array_equal(found.scores, upright.scores)


def test_a_sure_upright_face_ends_it():
    looks = Looks(face(SURE + 0.01), face(0.99), face(0.99), face(0.99))
    assert looks.found() is looks.faces[0]
    assert looks.seen == 1


@pytest.mark.parametrize("angle", [0, 30, -30, 50, -50])
def test_a_poor_upright_photo_keeps_its_faces(angle):
    below = 0.6 + BETTER - 0.01
    looks = Looks(face(0.6, angle), face(below), face(below), NO_FACES)
    assert looks.found() is looks.faces[0]
    assert looks.seen == 4


def test_one_photo_of_a_batch_is_turned_alone():
    looks = Looks(NO_FACES, NO_FACES, face(0.7), NO_FACES)
    first, second = find_in_turns(looks, [looks.photo, np.rot90(looks.photo, 2).copy()])
    assert len(first) == len(second) == 1
    np.testing.assert_allclose(second.points, looks.faces[2].points)
    np.testing.assert_allclose(turned(first.points[0], 2), second.points[0], atol=1e-4)


def test_the_sideways_looks_settle_what_stands_on_its_head():
    on_its_head = (face(0.62), face(0.6, 90), face(0.64), face(0.6, -90))
    assert Looks(*on_its_head).found().scores[0] == np.float32(0.64)
    upright = (face(0.62), face(0.6, -90), face(0.64), face(0.6, 90))
    assert Looks(*upright).found() is upright[0]


def test_a_face_on_its_side_is_no_reason_to_keep_the_photo():
    lying = (face(0.7, 90), face(0.75), NO_FACES, NO_FACES)
    found = Looks(*lying).found()
    assert found.scores[0] == np.float32(0.75)
    assert find_in_turns(Looks(*[NO_FACES] * 4), [np.full(SHAPE, 255, np.uint8)]) == [NO_FACES]


def test_the_surest_upright_face_of_several_decides():
    group = [face(0.88, at=(20, 40)), face(0.6, 170), face(0.55, 90)]
    faces = Faces(*(np.concatenate(part) for part in zip(*map(vars_of, group), strict=True)))
    looks = Looks(faces, face(0.95), face(0.95), face(0.95))
    assert looks.found() is faces


def vars_of(faces: Faces) -> tuple[np.ndarray, ...]:
    return faces.scores, faces.boxes, faces.points


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "alignment.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("quarters", "turn"), [(0, "0"), (1, "90"), (2, "180"), (3, "270")])
def test_landmarks_say_themselves_how_a_face_stands(tmp_path, quarters, turn):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, SHAPE, dtype=np.uint8)
    for name, pixels, points in (
        ("upright", photo, UPRIGHT),
        ("turned", np.rot90(photo, quarters), turned(UPRIGHT, quarters)),
    ):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels.copy()).save(tmp_path / name / "a.png")
        (tmp_path / f"{name}.json").write_text(json.dumps({"a.png": [0.9, points.tolist()]}))
        source = annotated(tmp_path / f"{name}.json")
        align_photos(tmp_path / name, tmp_path / f"{name}_out", source, PNG)
    crops = [read_image(tmp_path / f"{n}_out" / "a.png").astype(int) for n in ("upright", "turned")]
    assert np.abs(crops[0] - crops[1]).max() <= 1
    assert [row["turn"] for row in rows_of(tmp_path / "turned_out")] == [turn]


def test_a_table_from_before_the_column_still_serves(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(photos / "a.png")
    numbers = ",".join(f"{value:.3f}" for value in UPRIGHT.ravel())
    header = "path,status,detail,score,faces," + ",".join(
        f"{a}{n}" for n in range(1, 6) for a in "xy"
    )
    (tmp_path / "old.csv").write_text(f"{header}\na.png,aligned,,0.9000,1,{numbers}\n")
    counts = align_photos(photos, tmp_path / "out", annotated(tmp_path / "old.csv"), PNG)
    assert counts == {"aligned": 1}
    assert rows_of(tmp_path / "out")[0]["turn"] == "0"


@pytest.fixture(scope="module")
def detector() -> FaceSource:
    return detected(MODEL)


@pytest.fixture(scope="module")
def upright(detector, tmp_path_factory) -> Path:
    """Four photos, none of them square, and their crops."""
    root = tmp_path_factory.mktemp("real")
    (root / "photos").mkdir()
    for path in sorted((FACES / "photos").glob("*.jpg"))[::6]:
        Image.fromarray(read_image(path, None)[10:, 30:221]).save(
            root / "photos" / f"{path.stem}.png"
        )
    align_photos(root / "photos", root / "crops", detector, PNG)
    assert {row["turn"] for row in rows_of(root / "crops")} == {"0"}
    return root


def crops_of(folder: Path) -> np.ndarray:
    return np.stack([read_image(path).astype(int) for path in sorted(folder.glob("*.png"))])


# EXIF's numbers: 1 as it is, 6 to be turned a quarter clockwise.
@needs_faces
@pytest.mark.parametrize(
    ("quarters", "orientation", "turn"),
    [(1, 1, "90"), (2, 1, "180"), (3, 1, "270"), (1, 6, "0"), (3, 6, "180"), (2, 6, "90")],
)
def test_turned_photos_give_the_crops_of_upright_ones(
    upright, detector, tmp_path, quarters, orientation, turn
):
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in (upright / "photos").glob("*.png"):
        pixels = np.rot90(read_image(path, None), quarters).copy()
        Image.fromarray(pixels).save(tmp_path / "photos" / path.name, exif=exif)
    align_photos(tmp_path / "photos", tmp_path / "crops", detector, PNG)
    assert {row["turn"] for row in rows_of(tmp_path / "crops")} == {turn}
    assert np.abs(crops_of(upright / "crops") - crops_of(tmp_path / "crops")).max() <= 1


@needs_faces
def test_the_table_of_turned_photos_serves_as_landmarks(upright, detector, tmp_path):
    (tmp_path / "photos").mkdir()
    for path in (upright / "photos").glob("*.png"):
        pixels = np.rot90(read_image(path, None), 2).copy()
        Image.fromarray(pixels).save(tmp_path / "photos" / path.name)
    align_photos(tmp_path / "photos", tmp_path / "first", detector, PNG)
    given = annotated(tmp_path / "first" / "alignment.csv")
    align_photos(tmp_path / "photos", tmp_path / "again", given, PNG)
    assert {row["turn"] for row in rows_of(tmp_path / "again")} == {"180"}
    assert np.abs(crops_of(upright / "crops") - crops_of(tmp_path / "again")).max() <= 2


@needs_faces
@pytest.mark.parametrize("degrees", [-30, 20, 30])
def test_tilted_faces_stay_as_they_are_found(upright, detector, degrees):
    photos = [
        np.asarray(Image.fromarray(read_image(path, None)).rotate(degrees, Image.BICUBIC))
        for path in sorted((upright / "photos").glob("*.png"))
    ]
    for photo, faces in zip(photos, detector.find([""] * len(photos), photos), strict=True):
        (left, _), (right, _) = faces.points[0, 0], faces.points[0, 1]
        assert left < right, photo.shape  # its eyes lie side by side, the left one on the left
        assert faces.points[0, :2, 1].mean() < faces.points[0, 3:, 1].mean()
