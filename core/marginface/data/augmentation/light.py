"""Augmentations of brightness, contrast and colour."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

from marginface.data.augmentation.kinds import Pixels


def photometric(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Change contrast about the mean by a factor of 0.7 to 1.3, brightness by up to 25."""
    contrast, brightness = rng.uniform(0.7, 1.3), rng.uniform(-25, 25)
    mean = image.mean()
    # One value for each of the 256 levels, looked up: cheaper than arithmetic on every pixel.
    levels = (np.arange(256) - mean) * contrast + mean + brightness
    table: Pixels = levels.round().clip(0, 255).astype(np.uint8)
    return table[image]


def color_jitter(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Scale brightness, contrast and saturation by 0.5 to 1.5 each, one time in five.

    The three come in random order: brightness about black, contrast about the mean grey,
    saturation about each pixel's own grey.

    Source: AdaFace, arXiv 2204.00964, section 4.1; its code calls torchvision's
    ColorJitter(0.5, 0.5, 0.5, 0).
    """
    if rng.random() >= 0.2:
        return image
    steps = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    factors = rng.uniform(0.5, 1.5, 3)
    changed = Image.fromarray(image)
    for index in rng.permutation(3):
        changed = steps[index](changed).enhance(factors[index])
    return np.array(changed)


def grayscale(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Remove colour, one time in five."""
    if rng.random() >= 0.2:
        return image
    return np.array(Image.fromarray(image).convert("L").convert("RGB"))
