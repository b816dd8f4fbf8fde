"""Light on a face: a height map of skull, brows, nose, cheeks, lips and chin, lit from one side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.demo.drawing.geometry import DEPTH, SIZE, Points, Pose
from marginface.demo.drawing.people import Person, Shot

Map = NDArray[np.float32]  # [112, 112], or the HALF of it
HALF = SIZE // 2  # the height map is smooth: half the resolution is enough


def grow(values: Map) -> Map:
    """Resize a square map, [side, side] or [side * side], to the picture's size, bilinearly."""
    side = round(values.size**0.5)
    image = Image.fromarray(values.reshape(side, side))
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def spot(grid: Map, at: Points, size: tuple[float, float]) -> Map:
    """Return a Gaussian of height 1 around `at` [2], `size` wide and high, on a `Pose.grid`."""
    x, y = ((grid.T - at) / size).astype(np.float32).T
    return np.asarray(np.exp(-0.5 * (x * x + y * y)))


def _bumps(person: Person) -> NDArray[np.float64]:
    """Return rows (x, y, extra depth, height, width x, width y) of Gaussian bumps."""
    g, w, b = person.eye_gap, person.nose_width, person.nose_bridge
    n, m, lip = person.nose_length, person.mouth_height, person.lower_lip
    pairs = np.array(
        [
            (g, 0.3, 0, -3.2, 6.5, 4.5),  # socket
            (g * 0.95, -person.brow_height + 1.0, 0, 1.5, 8.0, 3.0),  # brow ridge
            (g * 1.15, n * 0.72, 0, 2.2, 7.5, 6.0),  # cheek
            (w * 0.72, n - 1.2, 2, 1.9, 2.3, 2.0),  # wing of the nose
            (person.mouth_width + 4, m + 1, 0, -1.1, 3.5, 5.0),
        ]
    )
    middle = [
        (0, n * 0.12, 1, 3.0 * b, 2.9, 6.5),  # bridge
        (0, n * 0.55, 3, 4.4 * b, 3.0, 5.5),
        (0, n - 2.6, 5, 5.4, w * 0.5, 3.4),  # tip
        (0, n + 3.2, 1, -1.3, 2.0, 2.0),  # philtrum
        (0, m - 1.5, 1, 1.0, 7.0, 1.8),
        (0, m + lip * 0.6, 1, 1.6, 5.5, 2.0),
        (0, m + lip + 2.8, 0, -1.7, 6.0, 2.0),
        (0, person.height - 4.5, 0, 2.6, 6.5, 4.5),  # chin
    ]
    return np.concatenate([pairs, pairs * (-1, 1, 1, 1, 1, 1), middle])


def light_maps(person: Person, shot: Shot, pose: Pose) -> tuple[Map, Map]:
    """Return the light that skin receives, about 1, and its gloss."""
    grid = pose.grid(HALF)
    bumps = _bumps(person)
    centres = pose.flat(bumps[:, :2], pose.surface(bumps[:, :2]) + bumps[:, 2])
    # [2, bumps, pixels]: the x and y of each pixel from each bump, in units of its size.
    sizes = (bumps[:, 4:] * (pose.cos_yaw, 1)).T[..., None].astype(np.float32)
    off = (grid[:, None] - centres.T[..., None].astype(np.float32)) / sizes
    height = bumps[:, 3, None].astype(np.float32) * np.exp(-0.5 * (off * off).sum(0))
    half = (pose.half * 1.02).astype(np.float32)[:, None]
    place = (grid - pose.middle.astype(np.float32)[:, None]) / half
    inside = np.sqrt(np.maximum(1 - (place * place).sum(0), 0.06))
    # The normal is (-dz/dx, -dz/dy, 1), scaled to length 1.
    slope = (height * off / sizes).sum(1) + DEPTH * 1.05 / half * place / inside
    normal = np.stack([*slope, np.ones_like(inside)])
    normal /= np.sqrt((normal * normal).sum(0))
    ahead = np.array([*shot.light, 1.0], np.float32)
    ahead /= np.linalg.norm(ahead)
    lambert = np.maximum((ahead @ normal + 0.15) / 1.15, 0)
    level = (1 - shot.contrast) * (0.66 + 0.34 * normal[2])
    level += shot.contrast * (0.14 + 1.06 * lambert)
    halfway = ahead + np.array([0, 0, 1], np.float32)
    gloss = np.maximum(halfway / np.linalg.norm(halfway) @ normal, 0) ** 22
    tip = np.array([[0.0, person.nose_length - 1.0]])
    shadow = pose.flat(tip, pose.surface(tip) + 3)[0] - np.multiply(shot.light, (4.5, 3.0))
    level *= 1 - 0.28 * shot.contrast * spot(grid, shadow, (4, 3.6))
    return grow(level), grow(gloss)
