"""Alignment: the similarity that brings five points of a face onto the template, and the crop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from marginface.checks import check_size
from marginface.errors import MarginfaceError

SIDE = 112  # pixels: the template's square
# Left eye, right eye, nose, left and right mouth corner, as (x to the right, y down).
TEMPLATE = ((38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20))
SMALLEST, LARGEST = 16, 4096  # pixels: of a crop's side

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """The map x -> factor * x + shift of points x + iy: scaling, turning and moving, no mirroring.

    Attributes:
        factor: |factor| is the scale, its argument the angle (radians, from x towards y).
        shift: where the origin goes.
        fit: 1 - residual / spread of the targets, both as sums of squares: 1 is exact.
    """

    factor: complex
    shift: complex
    fit: float

    @property
    def scale(self) -> float:
        """Target pixels for one source pixel."""
        return abs(self.factor)

    def __call__(self, points: ArrayLike) -> Points:
        """Move points [N, 2]."""
        moved = self.factor * _complex(np.asarray(points, np.float64)) + self.shift
        return np.stack([moved.real, moved.imag], axis=1)

    def inverse(self, points: ArrayLike) -> Points:
        """Return the points that `self` moves to points [N, 2]."""
        moved = (_complex(np.asarray(points, np.float64)) - self.shift) / self.factor
        return np.stack([moved.real, moved.imag], axis=1)


def template(size: tuple[int, int] = (SIDE, SIDE)) -> Points:
    """Return the five template points [5, 2] for crops of (height, width) pixels.

    The template's square is scaled to the longer side; the crop is the middle of it. So a 112 x 96
    crop is columns 8 to 104 of the 112 x 112 one, and a 224 x 224 crop halved is the 112 x 112 one.
    Coordinates are of pixel centres: the middle of the first pixel is (0, 0).

    >>> template((112, 96))[0].tolist()
    [30.29, 51.7]
    """
    return _template(*check_size("size", size))


@cache
def _template(height: int, width: int) -> Points:
    if min(height, width) < SMALLEST or max(height, width) > LARGEST:
        raise MarginfaceError(
            f"size must be {SMALLEST} to {LARGEST} pixels a side, got {height}x{width}"
        )
    side = max(height, width)
    cut = np.array([side - width, side - height]) / 2
    points: Points = (np.array(TEMPLATE) + 0.5) * (side / SIDE) - 0.5 - cut
    points.flags.writeable = False  # it is the same one for all
    return points


def fit_similarity(source: ArrayLike, target: ArrayLike) -> Similarity:
    """Return the similarity that brings `source` nearest to `target`, by least squares.

    With points as complex numbers, s and t centred on their means:

        factor = sum conj(s) t / sum |s|^2,   shift = mean(target) - factor * mean(source)

    It minimises sum |factor * source + shift - target|^2 over all similarities without mirroring:
    in the plane, what the singular value decomposition of equation 42 gives.

    Args:
        source: points [N, 2], N >= 2.
        target: where they should go [N, 2].

    Raises:
        MarginfaceError: other shapes, values that are not finite, or points from which no
            similarity follows: all in one place, or mirrored so that none is better than another.

    >>> fit_similarity([[0, 0], [1, 0]], [[2, 3], [2, 5]])([[0, 1]]).tolist()
    [[0.0, 3.0]]

    Source: Umeyama, Least-squares estimation of transformation parameters between two point
    patterns, 1991.
    """
    pair = [np.asarray(points, np.float64) for points in (source, target)]
    if pair[0].shape != pair[1].shape or pair[0].ndim != 2 or pair[0].shape[1] != 2:
        raise MarginfaceError(
            f"source and target must both be [N, 2], got {pair[0].shape} and {pair[1].shape}"
        )
    if len(pair[0]) < 2 or not np.isfinite(pair).all():
        raise MarginfaceError("a similarity needs two or more points, all of them finite")
    s, t = map(_complex, pair)
    s_mean, t_mean = complex(s.mean()), complex(t.mean())
    if any(np.ptp(points, axis=0).max() <= 1e-9 * np.abs(points).max() for points in pair):
        raise MarginfaceError("the points lie all in one place: no similarity follows from them")
    s, t = s - s_mean, t - t_mean
    product = complex(np.vdot(s, t))
    spread = float(np.vdot(s, s).real)
    fit = abs(product) ** 2 / (spread * float(np.vdot(t, t).real))
    if fit < 1e-12:
        raise MarginfaceError("no similarity is better than another for these points: mirrored?")
    factor = product / spread
    return Similarity(factor, t_mean - factor * s_mean, fit)


def warp(
    image: NDArray[np.uint8], similarity: Similarity, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Warp an image by a similarity into a crop of (height, width) pixels; black outside.

    Bilinear. A face that shrinks is drawn larger by a whole number and averaged, so that every
    pixel of it counts: plain bilinear sampling passes over some, which leaves jagged edges.

    Args:
        image: RGB uint8 [rows, columns, 3].
        similarity: from pixel centres of `image` to pixel centres of the crop.
        size: (height, width) of the crop.
    """
    height, width = size
    shrink = 1 / similarity.scale
    before = max(1, int(shrink / 4))  # averaging a large face first loses nothing and is fast
    after = math.ceil(shrink / before)
    image, corner = _region(image, similarity, size, before)
    if not image.size:
        return np.zeros((height, width, 3), np.uint8)
    # Pillow asks for the way back, between coordinates whose origin is the first pixel's corner.
    centre = 0.5 + 0.5j
    step = 1 / (similarity.factor * before * after)
    start = (centre - corner - (similarity.shift + centre) / similarity.factor) / before
    drawn = (
        Image.fromarray(image)
        .reduce(before)
        .transform(
            (width * after, height * after),
            Image.Transform.AFFINE,
            (step.real, -step.imag, start.real, step.imag, step.real, start.imag),
            Image.Resampling.BILINEAR,
        )
    )
    return np.asarray(drawn.reduce(after))


def _region(
    image: NDArray[np.uint8], similarity: Similarity, size: tuple[int, int], step: int
) -> tuple[NDArray[np.uint8], complex]:
    """Return the part of an image that a crop shows, and its corner x + iy, multiples of `step`.

    Of a photo of many faces, each would otherwise cost the time of all of it.
    """
    right, bottom = size[1] - 0.5, size[0] - 0.5
    corners = similarity.inverse([[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]])
    limits = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(corners.min(0) / step).astype(int) * step - 2 * step, 0, limits)
    low = low // step * step
    high = np.clip(np.ceil(corners.max(0) / step).astype(int) * step + 2 * step, low, limits)
    return image[low[1] : high[1], low[0] : high[0]], complex(*low)


def _complex(points: Points) -> NDArray[np.complex128]:
    return points[:, 0] + 1j * points[:, 1]
