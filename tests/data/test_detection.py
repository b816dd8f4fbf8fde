"""From a network's outputs to faces; photos of any sizes through a detector."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from real_faces import FACES, needs_faces
from tiny_scrfd import POINTS, photo_with, save_detector

from marginface import MarginfaceError
from marginface.data.image_files import list_images
from marginface.data.images import read_image
from marginface.data.photos.alignment import fit_similarity, template, warp
from marginface.data.photos.cropping import ALIGNED, CropOptions, crop_face
from marginface.data.photos.detection import Faces, decode, suppress
from marginface.data.photos.detector import FaceDetector
from marginface.embeddings.embedder import open_embedder

SCRFD = FACES / "weights" / "scrfd_2.5g_bnkps.onnx"


def empty_levels(height, width, anchors=2):
    return [
        tuple(
            np.zeros((height // stride * (width // stride) * anchors, size), np.float32)
            for size in (1, 4, 10)
        )
        for stride in (8, 16, 32)
    ]


def test_a_face_by_hand():
    """Stride 16, column 3, row 1, second anchor, of an input of 64 x 96: six columns."""
    levels = empty_levels(64, 96)
    row = (1 * 6 + 3) * 2 + 1
    scores, sides, points = levels[1]
    scores[row] = 0.75
    sides[row] = [1, 0.5, 2, 1.5]
    points[row] = [-1, -0.5, 1, -0.5, 0, 0, -1, 1, 1, 1]
    faces = decode(levels, (64, 96), 0.5)
    assert faces.scores.tolist() == [0.75]
    assert faces.boxes.tolist() == [[48 - 16, 16 - 8, 48 + 32, 16 + 24]]
    assert faces.points.tolist() == [[[32, 8], [64, 8], [48, 16], [32, 32], [64, 32]]]


def test_the_surest_comes_first_from_whatever_level():
    levels = empty_levels(64, 64, anchors=1)
    for (scores, _, _), row, score in zip(levels, (5, 3, 0), (0.6, 0.9, 0.7), strict=True):
        scores[row] = score
    faces = decode(levels, (64, 64), 0.65)
    np.testing.assert_array_equal(faces.scores, np.array([0.9, 0.7], np.float32))
    # Of one anchor a cell: level 16 has four columns, level 32 two.
    assert faces.boxes.tolist() == [[48, 0, 48, 0], [0, 0, 0, 0]]


def test_no_face_is_no_error():
    faces = suppress(decode(empty_levels(32, 32), (32, 32), 0.5))
    assert len(faces) == 0
    assert faces.points.shape == (0, 5, 2)


def overlap(a, b):
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    tall = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * tall
    return wide * tall / union


corners = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 12)] * 2)


@given(st.lists(corners, max_size=12), st.sampled_from([0.0, 0.3, 0.4, 0.7]))
def test_suppression(places, most):
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in places], np.float32).reshape(-1, 4)
    scores = np.linspace(1, 0.5, len(boxes), dtype=np.float32)
    kept = suppress(Faces(scores, boxes, np.zeros((len(boxes), 5, 2), np.float32)), most)
    expected = []  # greedily, one by one
    for box in boxes.tolist():
        if all(overlap(box, other) <= most + 1e-6 for other in expected):
            expected.append(box)
    assert kept.boxes.tolist() == expected
    again = suppress(kept, most)
    np.testing.assert_array_equal(again.scores, kept.scores)


@pytest.fixture(params=["batched", "one photo", "fixed size"])
def detector(request, tmp_path):
    kinds = {
        "batched": {},
        "one photo": {"batch": 1, "batch_axis": False},
        "fixed size": {"batch": 1, "sides": (640, 640)},
    }
    return FaceDetector(save_detector(tmp_path / "tiny.onnx", **kinds[request.param]))


def check_face(faces, index, stride, column, row, scale=1.0):
    x, y = column * stride * scale, row * stride * scale
    reach = 2 * stride * scale
    np.testing.assert_allclose(faces.boxes[index], [x - reach, y - reach, x + reach, y + reach])
    points = POINTS * stride * scale + [x, y]
    np.testing.assert_allclose(faces.points[index], points, atol=1e-3 * scale)


def test_photos_of_several_sizes_in_one_batch(detector):
    photos = [
        photo_with(250, 250, (8, 10, 4)),
        photo_with(100, 333, (16, 15, 3)),
        photo_with(250, 250, (8, 3, 20), (32, 5, 2), brightness=240),
        photo_with(64, 64),
        photo_with(640, 480, (32, 3, 17)),
    ]
    found = detector(photos)
    assert [len(faces) for faces in found] == [1, 1, 2, 0, 1]
    check_face(found[0], 0, 8, 10, 4)
    check_face(found[1], 0, 16, 15, 3)
    order = np.argsort(found[2].boxes[:, 2] - found[2].boxes[:, 0])
    check_face(found[2], order[0], 8, 3, 20)
    check_face(found[2], order[1], 32, 5, 2)
    check_face(found[4], 0, 32, 3, 17)
    for photo, faces in zip(photos, found, strict=True):
        np.testing.assert_array_equal(detector([photo])[0].points, faces.points)


def test_a_large_photo_is_scaled_down(detector):
    photo = photo_with(640, 480, (16, 12, 7)).repeat(3, 0).repeat(3, 1)
    check_face(detector([photo])[0], 0, 16, 12, 7, scale=3)


def test_a_second_look_at_half_the_size(detector, monkeypatch):
    run = detector._run
    looks = []

    def blind_at_first(images):
        looks.append(images.shape[2:])
        return run(images if len(looks) > 1 else np.full_like(images, -1))

    monkeypatch.setattr(detector, "_run", blind_at_first)
    photo = photo_with(128, 256, (16, 5, 3)).repeat(2, 0).repeat(2, 1)
    check_face(detector([photo])[0], 0, 16, 5, 3, scale=2)
    first, second = looks
    assert first == second == (640, 640) or (first, second) == ((256, 512), (128, 256))


def test_the_threshold(tmp_path):
    path = save_detector(tmp_path / "tiny.onnx")
    photo = photo_with(64, 64, (8, 4, 4), brightness=128)
    # The second anchor's box, which is the same and scores less, is suppressed.
    (score,) = FaceDetector(path)([photo])[0].scores
    np.testing.assert_allclose(score, 0.5 + 0.5 * 0.5 / 128, rtol=1e-5)
    assert len(FaceDetector(path, min_score=0.51)([photo])[0]) == 0
    with pytest.raises(MarginfaceError, match=r"min_score must be between 0 and 1, got 1.5"):
        FaceDetector(path, min_score=1.5)


OTHERS = {
    "embedder": "(float[N, 3, 112, 112] x) => (float[N, 3, 1, 1] y) { y = GlobalAveragePool(x) }",
    "flat": "(float[N, 768] x) => (float[N, 768] y) { y = Identity(x) }",
    "grey": "(float[N, 1, 16, 16] x) => (float[N, 256] y) { y = Flatten(x) }",
    "pixels": "(uint8[N, 3, 16, 16] x) => (uint8[N, 768] y) { y = Flatten(x) }",
    "scalar": "(float[N, 3, 64, 64] x) => (float y) { y = ReduceSum<keepdims = 0>(x) }",
    "two in": "(float[N, 3, 64, 64] x, float[N, 3, 64, 64] z) => (float[N, 9] y) { y = Add(x, z) }",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_model_is_refused_in_one_line(tmp_path, kind):
    path = tmp_path / "other.onnx"
    header = '<ir_version: 8, opset_import: ["": 17]> tiny '
    onnx.save(onnx.parser.parse_model(header + OTHERS[kind]), path)
    with pytest.raises(MarginfaceError, match=r"no face detector .* SCRFD or YuNet") as refusal:
        FaceDetector(path)
    assert "\n" not in str(refusal.value)


def test_a_detector_without_points_or_for_four_photos_is_refused(tmp_path):
    path = tmp_path / "tiny.onnx"
    with pytest.raises(MarginfaceError, match=r"gives outputs of .* expected .* five points"):
        FaceDetector(save_detector(path, points=False))
    with pytest.raises(MarginfaceError, match="it takes 4 photos at once, expected 1 or any"):
        FaceDetector(save_detector(path, batch=4))
    with pytest.raises(MarginfaceError, match="does not exist"):
        FaceDetector(tmp_path / "none.onnx")


def test_a_third_look_has_a_margin(detector, monkeypatch):
    run, looks = detector._run, []

    def blind_twice(images):
        looks.append(images.shape[2:])
        return run(images if len(looks) > 2 else np.full_like(images, -1))

    monkeypatch.setattr(detector, "_run", blind_twice)
    photo = photo_with(128, 256, (16, 5, 3)).repeat(4, 0).repeat(4, 1)
    photo = photo[:, :640]  # no smaller, so that nothing is scaled before
    check_face(detector([photo])[0], 0, 16, 5, 3, scale=4)
    assert len(looks) == 3


@needs_faces
def test_the_given_landmarks_of_photos():
    given_points = json.loads((FACES / "photos" / "landmarks.json").read_text())
    photos = [read_image(FACES / "photos" / name, None) for name in given_points]
    distances = []
    for faces, (_, points) in zip(FaceDetector(SCRFD)(photos), given_points.values(), strict=True):
        sizes = np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)
        distances.append(np.linalg.norm(faces.points[sizes.argmax()] - points, axis=1))
    assert np.median(distances) <= 2
    assert np.max(distances) < 5


@needs_faces
@pytest.mark.parametrize("border", [0, 40])
def test_aligned_crops_are_found_near_the_template(border):
    root = FACES / "lfw112" / "test"
    crops = np.stack([read_image(root / name) for name in list_images(root)[::40]])
    padded = np.pad(crops, ((0, 0), (border, border), (border, border), (0, 0)))
    found = FaceDetector(SCRFD)(list(padded))
    assert min(map(len, found)) >= 1
    points = np.stack([faces.points[0] for faces in found]) - border
    distances = np.linalg.norm(points - template(), axis=2)
    # Each face fits the template only as well as five points of a person do.
    assert np.median(distances) < 3
    again = np.stack(
        [
            warp(crop, fit_similarity(five, template()), (112, 112))
            for crop, five in zip(crops, points, strict=True)
        ]
    )
    embed = open_embedder(FACES / "weights" / "mobilefacenet_paper.onnx", std=128)
    before, after = embed(crops), embed(again)
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines = (before * after).sum(1) / norms
    assert np.median(cosines) > 0.97


@needs_faces
def test_a_face_that_fills_a_large_photo():
    root = FACES / "lfw112" / "test"
    crops = [read_image(root / name) for name in list_images(root)[::300]]
    large = [crop.repeat(8, 0).repeat(8, 1) for crop in crops]
    assert [len(faces) for faces in FaceDetector(SCRFD)(large)] == [1] * len(crops)


@needs_faces
@pytest.mark.parametrize("side", [(1024, 922), (1536, 1280), (2048, 2048), (700, 900)])
def test_a_face_that_passes_the_edges_of_a_large_photo(side):
    root = FACES / "lfw112" / "test"
    tight = [read_image(root / name)[20:100, 20:92] for name in list_images(root)[::300]]
    bicubic = Image.Resampling.BICUBIC
    large = [np.asarray(Image.fromarray(face).resize(side[::-1], bicubic)) for face in tight]
    looks = FaceDetector(SCRFD)(large)
    assert min(map(len, looks)) >= 1
    expected = (template() + 0.5 - 20) * np.array(side[::-1]) / (72, 80)
    distances = [np.linalg.norm(faces.points[0] - expected, axis=1) for faces in looks]
    assert np.median(distances) < 0.05 * max(side)


@needs_faces
@pytest.mark.parametrize(
    ("mode", "degrees", "cut"),
    [
        ("RGB", 0, (14, 12, 95, 112)),
        ("L", 0, (14, 12, 95, 112)),
        ("RGB", 20, (10, 8, 98, 112)),
        ("L", -20, (14, 12, 95, 112)),
        ("RGB", 0, (0, 6, 112, 106)),
    ],
)
def test_a_face_cut_at_its_box_is_aligned(mode, degrees, cut, tmp_path):
    root = FACES / "lfw112" / "test"
    for name in list_images(root)[::500]:
        face = Image.fromarray(read_image(root / name)).convert(mode)
        turned = face.rotate(degrees, Image.Resampling.BICUBIC)
        large = turned.crop(cut).resize((922, 1024), Image.Resampling.BICUBIC).convert("RGB")
        photo = np.asarray(large)
        (faces,) = FaceDetector(SCRFD)([photo])
        assert len(faces) >= 1
        outcome = crop_face(name, photo, faces, CropOptions(), tmp_path / "crop.jpg")
        assert outcome.status == ALIGNED
