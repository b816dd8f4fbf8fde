"""Light on a face: a height map of skull, brows, nose, cheeks, lips and chin, lit from one side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.demo.drawing.geometry import DEPTH, SIZE, Pose
from marginface.demo.drawing.people import Person, Shot

Map = NDArray[np.float32]  # [112, 112]
HALF = SIZE // 2  # the height map is smooth: half the resolution is enough


def grow(values: NDArray[np.floating[Any]]) -> Map:
    """Resize a square map to the image's size, bilinearly."""
    side = values.shape[0]
    image = Image.fromarray(np.asarray(values, np.float32).reshape(side, -1))
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def frame_grid(pose: Pose, side: int) -> NDArray[np.float32]:
    """Return each pixel's place in the turned face [side * side, 2]: tilt and zoom undone."""
    step = SIZE / side
    axis = (np.arange(side) + 0.5) * step
    x, y = np.meshgrid(axis - pose.origin[0], axis - pose.origin[1])
    points = np.stack([x.ravel(), y.ravel()], 1) @ np.linalg.inv(pose.turn).T
    return np.asarray(points, np.float32)


def spot(
    grid: NDArray[np.float32], at: NDArray[np.float64], wide: float, high: float
) -> NDArray[np.float32]:
    """Return a Gaussian of height 1 around `at` [2] on `grid` [N, 2]: [N]."""
    across = (grid[:, 0] - np.float32(at[0])) / np.float32(wide)
    down = (grid[:, 1] - np.float32(at[1])) / np.float32(high)
    height: NDArray[np.float32] = np.exp(-0.5 * (across * across + down * down))
    return height


def _bumps(person: Person) -> NDArray[np.float64]:
    """Return rows (x, y, extra depth, height, width x, width y) of Gaussian bumps."""
    g, w = person.eye_gap, person.nose_width
    n, m = person.nose_length, person.mouth_height
    b = person.nose_bridge
    mirror = [
        (g, 0.3, 0, -3.2, 6.5, 4.5),  # socket
        (g * 0.95, -person.brow_height + 1.0, 0, 1.5, 8.0, 3.0),  # brow ridge
        (g * 1.15, n * 0.72, 0, 2.2, 7.5, 6.0),  # cheek
        (w * 0.72, n - 1.2, 2, 1.9, 2.3, 2.0),  # wing of the nose
        (person.mouth_width + 4, m + 1, 0, -1.1, 3.5, 5.0),
    ]
    middle = [
        (0.0, n * 0.12, 1, 3.0 * b, 2.9, 6.5),  # bridge
        (0.0, n * 0.55, 3, 4.4 * b, 3.0, 5.5),
        (0.0, n - 2.6, 5, 5.4, w * 0.5, 3.4),  # tip
        (0.0, n + 3.2, 1, -1.3, 2.0, 2.0),  # philtrum
        (0.0, m - 1.5, 1, 1.0, 7.0, 1.8),
        (0.0, m + person.lower_lip * 0.6, 1, 1.6, 5.5, 2.0),
        (0.0, m + person.lower_lip + 2.8, 0, -1.7, 6.0, 2.0),
        (0.0, person.height - 4.5, 0, 2.6, 6.5, 4.5),  # chin
    ]
    left = [(-x, *rest) for x, *rest in mirror]
    return np.array([*mirror, *left, *middle])


def light_maps(person: Person, shot: Shot, pose: Pose) -> tuple[Map, Map]:
    """Return the light that skin receives, about 1, and its gloss."""
    grid = frame_grid(pose, HALF)
    bumps = _bumps(person)
    lift = pose.surface(bumps[:, :2]) + bumps[:, 2]
    centres = pose.flat(bumps[:, :2], lift).astype(np.float32)
    scale = bumps[:, 4:6].astype(np.float32)
    scale[:, 0] *= np.float32(pose.cos_yaw)
    x, y = grid[:, 0], grid[:, 1]
    across = (x - centres[:, :1]) / scale[:, :1]
    down = (y - centres[:, 1:]) / scale[:, 1:]
    gauss = np.exp(-0.5 * (across * across + down * down))
    gauss *= bumps[:, 3, None].astype(np.float32)
    half = pose.half.astype(np.float32) * np.float32(1.02)
    round_x, round_y = ((grid - pose.middle.astype(np.float32)) / half).T
    inside = np.sqrt(np.maximum(1 - round_x**2 - round_y**2, 0.06))
    depth = np.float32(DEPTH * 1.05) / half / inside[:, None]
    # The normal is (-dz/dx, -dz/dy, 1), scaled to length 1.
    normal = np.empty((len(grid), 3), np.float32)
    normal[:, 0] = np.einsum("bp,bp->p", gauss, across / scale[:, :1]) + depth[:, 0] * round_x
    normal[:, 1] = np.einsum("bp,bp->p", gauss, down / scale[:, 1:]) + depth[:, 1] * round_y
    normal[:, 2] = 1
    normal /= np.sqrt(np.einsum("pc,pc->p", normal, normal))[:, None]
    ahead = np.array([*shot.light, 1.0], np.float32)
    ahead /= np.linalg.norm(ahead)
    lambert = np.maximum((normal @ ahead + 0.15) / 1.15, 0)
    fill = 0.5 + 0.5 * normal[:, 2]
    level = (1 - shot.contrast) * (0.32 + 0.68 * fill) + shot.contrast * (0.14 + 1.06 * lambert)
    middle = ahead + np.array([0, 0, 1], np.float32)
    middle /= np.linalg.norm(middle)
    gloss = np.maximum(normal @ middle, 0) ** 22
    tip = np.array([[0.0, person.nose_length - 1.0]])
    shadow_at = pose.flat(tip, pose.surface(tip) + 3)[0] - np.array(shot.light) * (4.5, 3.0)
    level *= 1 - np.float32(0.28 * shot.contrast) * spot(grid, shadow_at, 4.0, 3.6)
    return grow(level.reshape(HALF, HALF)), grow(gloss.reshape(HALF, HALF))
