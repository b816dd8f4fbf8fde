"""Augmentations by name: functions of an RGB uint8 image [height, width, 3] and a generator.

None changes its input; all randomness comes from the generator, so a seed fixes the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.errors import unknown_name

Pixels = NDArray[np.uint8]
Augmentation = Callable[[Pixels, np.random.Generator], Pixels]


def flip(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Mirror left and right, one time in two."""
    return image[:, ::-1] if rng.random() < 0.5 else image


def affine(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Zoom by up to 10%, rotate by up to 0.08 radians, shift by up to 4 pixels; black outside."""
    scale, angle = rng.uniform(0.9, 1.1), rng.uniform(-0.08, 0.08)
    center = np.array([image.shape[1], image.shape[0]]) / 2
    shift = rng.uniform(-4, 4, 2)
    # Pillow asks where each output pixel comes from: the inverse of the transform.
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    inverse = np.array([[cos, sin], [-sin, cos]])
    x, y = center - inverse @ (center + shift)
    matrix = (cos, sin, x, -sin, cos, y)
    warped = Image.fromarray(image).transform(
        (image.shape[1], image.shape[0]),
        Image.Transform.AFFINE,
        matrix,
        Image.Resampling.BILINEAR,
    )
    return np.array(warped)


def photometric(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Change contrast about the mean by a factor of 0.7 to 1.3, brightness by up to 25."""
    contrast, brightness = rng.uniform(0.7, 1.3), rng.uniform(-25, 25)
    mean = image.mean()
    # One value for each of the 256 levels, looked up: cheaper than arithmetic on every pixel.
    levels = (np.arange(256) - mean) * contrast + mean + brightness
    table: Pixels = levels.round().clip(0, 255).astype(np.uint8)
    return table[image]


def grayscale(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Remove colour, one time in five."""
    if rng.random() >= 0.2:
        return image
    return np.array(Image.fromarray(image).convert("L").convert("RGB"))


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


AUGMENTATIONS: dict[str, Augmentation] = {
    function.__name__: function for function in (flip, affine, photometric, grayscale, erase)
}


def augmentation(names: Sequence[str]) -> Augmentation:
    """Return one function that applies the named augmentations in the given order.

    >>> image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    >>> augmentation(["flip"])(image, np.random.default_rng(2))[0]
    array([[3, 4, 5],
           [0, 1, 2]], dtype=uint8)

    Raises:
        MarginfaceError: a name is not among `AUGMENTATIONS`.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown_name("augmentation", name, AUGMENTATIONS)
    functions = [AUGMENTATIONS[name] for name in names]

    def apply(image: Pixels, rng: np.random.Generator) -> Pixels:
        for function in functions:
            image = function(image, rng)
        return image

    return apply
