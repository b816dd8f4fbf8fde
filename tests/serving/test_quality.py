"""Blur and pose of faces: known ones, and what mirroring, turning and blurring do to real ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageFilter
from real_faces import FACES, needs_faces

from marginface.data.images import read_image
from marginface.data.photos.alignment import fit_similarity, template, warp
from marginface.serving.quality import FACE, blur, pose


def projected(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The average face, raised, turned, then leaned, as a far camera sees it; x right, y down."""
    y, p, r = np.radians([yaw, pitch, roll])
    raised = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    turned = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    leaned = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (FACE @ (leaned @ turned @ raised).T)[:, :2] * 1.7 + [200, 90]


@pytest.mark.parametrize("yaw", [-60, -20, 0, 35])
@pytest.mark.parametrize("pitch", [-25, 0, 30])
@pytest.mark.parametrize("roll", [-120, 0, 45, 90])
def test_a_projected_face_gives_its_angles_back(yaw: float, pitch: float, roll: float) -> None:
    np.testing.assert_allclose(pose(projected(yaw, pitch, roll)), [yaw, pitch, roll], atol=1e-6)


def test_signs_are_those_of_the_picture() -> None:
    """Nose to the right of the picture, nose up, right eye lower."""
    face = np.array(template())
    for moved, by, angle in ((2, [8, 0], 0), (2, [0, -6], 1)):
        points = face.copy()
        points[moved] += by
        assert pose(points)[angle] > 10
    leaning = face.copy()
    leaning[[1, 4], 1] += 10
    assert pose(leaning)[2] > 5


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 180, (112, 112, 3), np.uint8)


def test_blurring_raises_blur_and_contrast_does_not_count() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (14, 14, 3), np.uint8)
    sharp = tiles.repeat(8, 0).repeat(8, 1)
    looks = [sharp] + [
        np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(radius)))
        for radius in (1, 2, 4)
    ]
    values = [blur(look) for look in looks]
    assert values == sorted(values)
    assert values[0] < 0.2
    assert values[-1] > 0.6
    assert blur(np.full((112, 112, 3), 9, np.uint8)) == 1
    grey = np.repeat(sharp[..., :1] // 2 * 2, 3, axis=2)
    assert blur(grey // 2) == pytest.approx(blur(grey), abs=0.01)
    assert blur(grey.repeat(2, 0).repeat(2, 1)) == pytest.approx(blur(grey), abs=1e-6)


def test_it_is_the_measure_of_the_paper() -> None:
    """One pixel after the other, with means over nine, the last pixel repeated beyond the edge."""
    crop = np.repeat(noise(1)[..., :1], 3, axis=2)
    values = crop[..., 0].astype(float)
    worst = 0.0
    for lines in (values, values.T):
        edges = lost = 0.0
        for line in lines:
            padded = [line[0]] * 4 + list(line) + [line[-1]] * 4
            means = [sum(padded[at : at + 9]) / 9 for at in range(len(line))]
            for at in range(len(line) - 1):
                edge = abs(line[at + 1] - line[at])
                edges += edge
                lost += max(edge - abs(means[at + 1] - means[at]), 0)
        worst = max(worst, 1 - lost / edges)
    assert blur(crop) == pytest.approx(worst, abs=1e-5)


@needs_faces
def test_real_faces_mirrored_turned_and_blurred() -> None:
    listed = json.loads((FACES / "photos" / "landmarks.json").read_text())
    for name, (_, points) in listed.items():
        given = np.array(points)
        yaw, pitch, roll = pose(given)
        mirrored = ([250, 0] + given * [-1, 1])[[1, 0, 2, 4, 3]]
        # The template's own points are not mirrored quite alike.
        np.testing.assert_allclose(pose(mirrored), [-yaw, pitch, -roll], atol=3)
        turned = given[:, ::-1] * [-1, 1] + [250, 0]  # a quarter, clockwise
        np.testing.assert_allclose(pose(turned), [yaw, pitch, roll + 90], atol=1e-6)
        photo = read_image(FACES / "photos" / name, None)
        crop = warp(photo, fit_similarity(given, template()), (112, 112))
        image = Image.fromarray(crop)
        once, twice = (np.asarray(image.filter(ImageFilter.GaussianBlur(r))) for r in (1, 2))
        assert 0.4 < blur(crop) < 0.7
        assert blur(crop) < blur(once) < blur(twice)
