"""The similarity onto the template, and the crop that it makes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from real_faces import FACES, needs_faces

from marginface import MarginfaceError
from marginface.data.images import read_image
from marginface.data.photos.alignment import Similarity, fit_similarity, template, warp

# As the field publishes it.
PUBLISHED = [(38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20)]

numbers = st.floats(-300, 300)
patterns = arrays(np.float64, (5, 2), elements=numbers).filter(lambda p: p.std(axis=0).min() > 1)
angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.05, 20)


def umeyama(source, target):
    """Return scale * rotation and translation by equations 40 to 42, as published."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    variance = ((source - source_mean) ** 2).sum(1).mean()
    matrix = np.trace(np.diag(d) @ sign) / variance * u @ sign @ vt
    return matrix, target_mean - matrix @ source_mean


def turned(points, scale, angle, shift):
    cos, sin = np.cos(angle), np.sin(angle)
    return scale * points @ np.array([[cos, sin], [-sin, cos]]) + shift


def test_the_template_is_the_published_one():
    np.testing.assert_allclose(template(), PUBLISHED, rtol=0, atol=1e-12)


def test_a_narrow_crop_is_the_middle_of_the_square():
    np.testing.assert_allclose(template((112, 96)), template() - [8, 0], atol=1e-12)
    np.testing.assert_allclose(template((96, 112)), template() - [0, 8], atol=1e-12)


def test_a_larger_crop_has_the_same_outline():
    # The middle of the first pixel is 0, so its corner is -0.5.
    np.testing.assert_allclose(template((224, 224)) + 0.5, (template() + 0.5) * 2, atol=1e-12)


@pytest.mark.parametrize("size", [(15, 112), (112, 4097), (0, 0), (-112, 112)])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(MarginfaceError, match="size must be 16 to 4096 pixels a side, got"):
        template(size)


@given(patterns, scales, angles, numbers, numbers)
def test_a_known_similarity_is_found(points, scale, angle, x, y):
    target = turned(points, scale, angle, (x, y))
    found = fit_similarity(points, target)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-9)
    np.testing.assert_allclose(np.exp(1j * np.angle(found.factor)), np.exp(1j * angle), atol=1e-9)
    np.testing.assert_allclose(found(points), target, atol=1e-9)
    np.testing.assert_allclose(found.inverse(target), points, atol=1e-9 * max(1, 1 / scale))
    np.testing.assert_allclose(found.fit, 1, atol=1e-9)


@given(patterns, patterns)
def test_it_is_umeyamas(source, target):
    matrix, translation = umeyama(source, target)
    if np.linalg.norm(matrix) < 1e-6:
        return  # nearly mirrored: the angle is lost in rounding
    found = fit_similarity(source, target)
    np.testing.assert_allclose(found(source), source @ matrix.T + translation, atol=1e-6)


@given(
    patterns, patterns, st.complex_numbers(max_magnitude=0.1), st.complex_numbers(max_magnitude=9)
)
def test_no_other_similarity_is_nearer(source, target, turn, move):
    found = fit_similarity(source, target)
    residual = ((found(source) - target) ** 2).sum()
    s, t = source @ [1, 1j], target @ [1, 1j]
    other = (np.abs((found.factor + turn) * s + found.shift + move - t) ** 2).sum()
    assert residual <= other * (1 + 1e-9) + 1e-9
    spread = ((target - target.mean(0)) ** 2).sum()
    np.testing.assert_allclose(found.fit, 1 - residual / spread, atol=1e-9)


def test_a_mirrored_face_is_not_mirrored_back():
    mirrored = template() * [-1, 1] + [112, 0]
    found = fit_similarity(mirrored, template())
    first, second = found(mirrored)[:2]
    assert first[0] > second[0], "the eyes are exchanged as before"
    assert found.fit < 0.1


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (np.full((5, 2), 7.0), PUBLISHED, "all in one place"),
        (np.full((5, 2), 1e9) + np.eye(5, 2) * 1e-3, PUBLISHED, "all in one place"),
        (PUBLISHED, np.zeros((5, 2)), "all in one place"),
        ([[1, 0], [-1, 0], [0, 1], [0, -1]], [[1, 0], [-1, 0], [0, -1], [0, 1]], "mirrored"),
        (np.full((5, 2), np.nan), PUBLISHED, "finite"),
        ([[1, 2]], [[1, 2]], "two or more points"),
        (PUBLISHED[:4], PUBLISHED, r"\[N, 2\], got \(4, 2\) and \(5, 2\)"),
        (np.zeros((5, 3)), np.zeros((5, 3)), r"\[N, 2\]"),
    ],
)
def test_points_without_a_similarity_are_refused(source, target, words):
    with pytest.raises(MarginfaceError, match=words):
        fit_similarity(source, target)


def smooth(x, y):
    """Return a smooth picture at any place, in 0..255."""
    shade = np.sin(x / 9) + np.cos(y / 7) + np.sin((x + y) / 11)
    return 127.5 + 40 * np.stack([shade, -shade, np.cos(x / 13) * np.sin(y / 8)], axis=-1)


@pytest.mark.parametrize("scale", [2.5, 1.0, 0.8, 0.45, 0.21, 0.06])
@pytest.mark.parametrize("size", [(112, 112), (112, 96), (64, 80)])
def test_a_crop_shows_what_the_similarity_says(scale, size):
    side = int(1.7 * 112 / scale)
    y, x = np.mgrid[:side, :side] / (side / 200)
    image = smooth(x, y).round().astype(np.uint8)
    target = template(size)
    source = turned(target - target.mean(0), 1 / scale, 0.3, (side / 2, side / 2))
    similarity = fit_similarity(source, target)
    crop = warp(image, similarity, size)
    assert crop.shape == (*size, 3)
    assert crop.dtype == np.uint8
    rows, columns = np.mgrid[: size[0], : size[1]]
    places = similarity.inverse(np.stack([columns.ravel(), rows.ravel()], axis=1))
    expected = smooth(*(places / (side / 200)).T).reshape(*size, 3)
    assert np.abs(crop - expected).max() < 4
    assert abs((crop - expected).mean()) < 0.7, "it is not shifted"


def test_identity_keeps_every_pixel():
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    np.testing.assert_array_equal(
        warp(image, fit_similarity(template(), template()), (112, 112)), image
    )


def test_a_large_face_is_averaged():
    noise = np.random.default_rng(0).integers(0, 256, (1120, 1120, 3), np.uint8)
    corners = [[-0.5, -0.5], [1119.5, 1119.5]]
    crop = warp(noise, fit_similarity(corners, [[-0.5, -0.5], [111.5, 111.5]]), (112, 112))
    means = noise.reshape(112, 10, 112, 10, 3).mean((1, 3))
    inner = (slice(2, -2), slice(2, -2))
    assert np.corrcoef(crop[inner].ravel(), means[inner].ravel())[0, 1] > 0.97


def test_what_the_photo_lacks_is_black():
    white = np.full((50, 50, 3), 255, np.uint8)
    crop = warp(white, fit_similarity([[0, 0], [1, 0]], [[60, 60], [61, 60]]), (112, 112))
    assert (crop[:59] == 0).all()
    assert (crop[62:108, 62:108] == 255).all()


@needs_faces
def test_crops_are_those_of_the_field():
    """LFW photos by given points against crops that were made of them elsewhere."""
    landmarks = json.loads((FACES / "photos" / "landmarks.json").read_text())
    crops = {path.name: path for path in (FACES / "lfw112").rglob("*.jpg")}
    compared = 0
    for name in landmarks.keys() & crops.keys():
        photo = read_image(FACES / "photos" / name, None)
        similarity = fit_similarity(landmarks[name][1], template())
        crop = warp(photo, similarity, (112, 112)).astype(float)
        # What JPEG leaves; a crop shifted by one pixel is 3 or more away.
        assert np.abs(crop - read_image(crops[name])).mean() < 2
        compared += 1
    assert compared == 24


def test_what_lies_around_a_face_changes_nothing():
    """The part that is looked at is cut out first; black around a photo is what is beyond it."""
    rng = np.random.default_rng(5)
    photo = rng.integers(0, 256, (90, 120, 3), np.uint8)
    around = np.pad(photo, ((64, 32), (96, 160), (0, 0)))
    for scale in (0.6, 1.0, 2.5):
        factor = scale * np.exp(0.3j)
        shift = complex(56, 56) - factor * complex(60, 45)
        crop = warp(photo, Similarity(factor, shift, 1.0), (112, 112))
        inside = Similarity(factor, shift - factor * complex(96, 64), 1.0)
        apart = np.abs(warp(around, inside, (112, 112)).astype(int) - crop)
        # At a photo's edge pixels are mixed with black, or not; coordinates differ in the last bit.
        assert apart[46:66, 46:66].max() <= 1
    far = Similarity(1 + 0j, complex(-5000, 0), 1.0)
    assert not warp(photo, far, (112, 112)).any()
