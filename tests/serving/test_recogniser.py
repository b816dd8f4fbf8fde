"""Photos to faces to embeddings, with detectors and models small enough to see through."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector

import marginface as mf
from marginface.data.photos.detection import Faces
from marginface.serving.faces import Face
from marginface.serving.recogniser import Recogniser

BLOCKS = [(8, 6, 6), (16, 8, 3), (32, 1, 4)]  # stride, column, row


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model.onnx")


@pytest.fixture
def recogniser(model: Path, tmp_path: Path) -> Recogniser:
    return mf.Recogniser(model, save_detector(tmp_path / "tiny.onnx"))


def test_each_face_of_a_photo_is_embedded(recogniser: Recogniser, model: Path) -> None:
    photo = photo_with(192, 224, *BLOCKS)
    none = np.zeros((64, 64, 3), np.uint8)
    faces, nothing = recogniser([photo, none])
    assert len(faces) == 3
    assert not nothing
    corners = {(round(face.box[0]), round(face.box[1])) for face in faces}
    assert corners == {(s * (c - 2), s * (r - 2)) for s, c, r in BLOCKS}
    crops = np.stack([face.crop for face in faces])
    assert crops.shape == (3, 112, 112, 3)
    assert crops.any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal([face.embedding for face in faces], mf.load(model).embed(crops))
    for face in faces:
        assert face.photo == "0"
        assert not face.problem
        assert face.quality.norm == pytest.approx(np.linalg.norm(face.embedding))


def test_what_is_no_use_is_told(model: Path, tmp_path: Path) -> None:
    """Too small, cut off, in one line, and beyond the limit."""
    detector = save_detector(tmp_path / "tiny.onnx")
    photo = photo_with(192, 224, *BLOCKS)
    sizes = [face.quality.size for face in next(mf.Recogniser(model, detector)(photo))]
    (faces,) = mf.Recogniser(model, detector, min_face=sum(sizes) / 3, max_faces=2)(photo)
    problems = [face.problem for face in faces]
    assert sorted(problems)[-1] == "more than 2 faces in the photo"
    assert "face too small" in problems
    for face in faces:
        assert (face.embedding.size == face.crop.size == 0) == bool(face.problem)

    line = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [4, 0]], np.float32) * 20

    def odd(photos: list[np.ndarray]) -> list[Faces]:
        ones = np.ones(2, np.float32)
        far = np.array([[-1, -1], [1, -1], [0, 0.1], [-0.8, 1], [0.8, 1]], np.float32) * 20 - 10
        return [Faces(ones, np.ones((2, 4), np.float32), np.stack([line, far])) for _ in photos]

    (faces,) = mf.Recogniser(model, odd)(photo)
    assert [face.problem for face in faces] == ["points form no face", "face cut off"]


def test_without_a_detector_images_are_crops(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (112, 112, 3), np.uint8)
    Image.fromarray(crop).save(tmp_path / "a.png")
    recogniser = mf.Recogniser(model, flip=True)
    assert recogniser.faces_origin == "crops"
    faces = [face for (face,) in recogniser([tmp_path / "a.png", crop, Image.fromarray(crop)])]
    assert [face.photo for face in faces] == [str(tmp_path / "a.png"), "1", "2"]
    expected = mf.load(model).embed(crop, flip=True)[0]
    for face in faces:
        np.testing.assert_array_equal(face.embedding, expected)
        assert np.isnan(face.points).all()
        assert np.isnan(face.quality.yaw)
    with pytest.raises(mf.MarginfaceError, match="images are 64x64"):
        next(recogniser(crop[:64, :64]))


def test_own_detectors_are_checked(model: Path) -> None:
    def recognise(result: object) -> list[Face]:
        return next(mf.Recogniser(model, lambda _: result)(np.zeros((64, 64, 3), np.uint8)))

    whole = Faces(*(np.ones(shape, np.float32) for shape in ((1,), (1, 4), (1, 5, 2))))
    bent = Faces(whole.scores, whole.points, whole.boxes)
    for result, told in (
        ([], "gives 0 results for 1 photos"),
        ([3], "gives int, expected Faces"),
        ([bent], r"gives shapes \(1,\), \(1, 5, 2\)"),
        ([Faces(whole.scores, whole.boxes * np.nan, whole.points)], "NaN"),
        (3, "fails: TypeError"),
    ):
        with pytest.raises(mf.MarginfaceError, match=told):
            recognise(result)
    assert recognise([whole])[0].problem == "points form no face"
    with pytest.raises(mf.MarginfaceError, match="path of an ONNX file or a function"):
        mf.Recogniser(model, 3)


def test_a_photo_that_cannot_be_read_is_named(recogniser: Recogniser, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(mf.MarginfaceError, match=r"broken\.jpg: cannot read the image"):
        list(recogniser([broken]))
    good = photo_with(192, 224, *BLOCKS)
    outcomes = list(recogniser.attempts([("a", good), ("b", broken), ("c", good)]))
    assert isinstance(outcomes[1], mf.MarginfaceError)
    assert [len(each) for each in (outcomes[0], outcomes[2])] == [3, 3]
    with pytest.raises(mf.MarginfaceError, match=r"uint8 RGB arrays .* got float64 \(2, 2, 3\)"):
        list(recogniser([np.zeros((2, 2, 3))]))
    with pytest.raises(mf.MarginfaceError, match="a photo has no pixels"):
        list(recogniser([np.zeros((0, 5, 3), np.uint8)]))
    with pytest.raises(mf.MarginfaceError, match="is a folder"):
        list(recogniser(tmp_path))


def test_batches_and_threads_change_nothing(model: Path, tmp_path: Path) -> None:
    detector = save_detector(tmp_path / "tiny.onnx")
    photos = [photo_with(192, 224, *BLOCKS[: at % 4]) for at in range(10)]
    one, many = (
        list(mf.Recogniser(model, detector, batch_size=size, threads=threads)(photos))
        for size, threads in ((1, 1), (3, 4))
    )
    assert [len(faces) for faces in one] == [at % 4 for at in range(10)]
    for a, b in zip(chain(*one), chain(*many), strict=True):
        np.testing.assert_array_equal(a.crop, b.crop)
        np.testing.assert_allclose(a.embedding, b.embedding, rtol=1e-6)
