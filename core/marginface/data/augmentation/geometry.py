"""Augmentations that move or cut the image."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from marginface.data.augmentation.kinds import Pixels


def flip(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Mirror left and right, one time in two.

    Source: the one augmentation of InsightFace's arcface_torch by default, and AdaFace's last.
    """
    if rng.random() >= 0.5:
        return image
    # By channel: image[:, ::-1] copied at once goes pixel by pixel, which takes five times as long.
    mirrored = np.empty_like(image)
    for channel in range(image.shape[2]):
        mirrored[..., channel] = image[:, ::-1, channel]
    return mirrored


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


def crop(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Keep a rectangle where it is and blacken what is around it, one time in five.

    It has 0.2 to 1 of the area, width / height of 3/4 to 4/3 times the image's (log-uniform), as
    far as it fits, and lies anywhere.

    Source: AdaFace, arXiv 2204.00964, section 4.1, and its code, which draws the rectangle as
    torchvision's RandomResizedCrop does but leaves it in place.
    """
    if rng.random() >= 0.2:
        return image
    area, ratio = rng.uniform(0.2, 1.0), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    shares = math.sqrt(area / ratio), math.sqrt(area * ratio)
    height, width = (
        min(max(round(share * side), 1), side)
        for share, side in zip(shares, image.shape[:2], strict=True)
    )
    top = rng.integers(image.shape[0] - height + 1)
    left = rng.integers(image.shape[1] - width + 1)
    kept = np.zeros_like(image)
    kept[top : top + height, left : left + width] = image[top : top + height, left : left + width]
    return kept
