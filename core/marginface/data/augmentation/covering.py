"""Augmentations that cover a part of the face.

Mask and sunglasses are drawn where a face aligned to the 112 x 112 template has nose, mouth and
eyes, and in proportion on images of another size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from marginface.data.augmentation.kinds import Pixels

Points = NDArray[np.float64]

SIDE = 112
FINER = 4  # shapes are drawn so many times larger, and scaled down for smooth edges
EYES = np.array([[38.3, 51.7], [73.5, 51.5]])
# Clockwise from the left cheek; the nose's bridge is the highest point, the chin the lowest.
MASK = np.array(
    [
        *([18, 68], [38, 66], [56, 59], [74, 66], [94, 68]),
        *([90, 90], [78, 106], [56, 113], [34, 106], [22, 90]),
    ],
    float,
)
EARS = np.array([[4, 58], [108, 58], [108, 70], [4, 70]], float)  # where the strings end
MASK_COLORS = ((235, 238, 240), (160, 200, 225), (90, 150, 190), (40, 40, 45))


def erase(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Cover a rectangle of 10 to 45 pixels a side with one grey, one time in two."""
    if rng.random() >= 0.5:
        return image
    height, width = np.minimum(rng.integers(10, 46, 2), image.shape[:2])
    top = rng.integers(image.shape[0] - height + 1)
    left = rng.integers(image.shape[1] - width + 1)
    covered = image.copy()
    covered[top : top + height, left : left + width] = rng.integers(256)
    return covered


def mask(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Put a face mask over nose, mouth and chin, one time in ten.

    White, two blues or black, darker or lighter by up to 15; each corner lies up to 3 pixels off.
    """
    if rng.random() >= 0.1:
        return image
    color = np.add(MASK_COLORS[rng.integers(len(MASK_COLORS))], rng.uniform(-15, 15))
    outline = MASK + rng.uniform(-3, 3, MASK.shape)
    left, right, lower_right, lower_left = outline[[0, 4, 5, 9]]

    def draw(pen: ImageDraw.ImageDraw, scale: Points) -> None:
        pen.polygon(_corners(outline * scale), fill=255)
        for corner, ear in zip((left, right, lower_right, lower_left), EARS, strict=True):
            pen.line(_corners(np.stack([corner, ear]) * scale), fill=255, width=round(scale[1]))

    return _painted(image, color, draw)


def sunglasses(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Put dark glasses over both eyes, one time in ten.

    A level of 0 to 50, up to 10 higher in each channel; lenses 26 to 34 pixels wide and 18 to 28
    high, together up to 3 pixels off.
    """
    if rng.random() >= 0.1:
        return image
    color = rng.uniform(0, 50) + rng.uniform(0, 10, 3)
    half = rng.uniform([13, 9], [17, 14])
    lenses = EYES + rng.uniform(-3, 3, 2)

    def draw(pen: ImageDraw.ImageDraw, scale: Points) -> None:
        bar = np.array([[6, lenses[0, 1] - 5], [SIDE - 6, lenses[1, 1] - 5]])
        pen.line(_corners(bar * scale), fill=255, width=round(3 * scale[1]))
        for lens in lenses:
            box = _corners(np.stack([lens - half, lens + half]) * scale)
            pen.rounded_rectangle(box, radius=7 * scale.min(), fill=255)

    return _painted(image, color, draw)


def _corners(points: Points) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def _painted(
    image: Pixels,
    color: NDArray[np.float64],
    draw: Callable[[ImageDraw.ImageDraw, Points], None],
) -> Pixels:
    """Lay a colour over an image, where `draw` paints in template coordinates times a scale."""
    size = np.array([image.shape[1], image.shape[0]])
    where = Image.new("L", tuple((size * FINER).tolist()))
    draw(ImageDraw.Draw(where), size * FINER / SIDE)
    red, green, blue = color.clip(0, 255).round().astype(int).tolist()
    painted = Image.fromarray(image)  # a copy
    painted.paste((red, green, blue), mask=where.reduce(FINER))
    return np.array(painted)
