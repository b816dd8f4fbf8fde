"""Quality of a face: blur of its crop, pose from its five landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from marginface.data.photos.alignment import SIDE, TEMPLATE

WINDOW = 9  # pixels: of the mean that blurs a line of the crop
# Depth of the template's points in its pixels, of which 35 lie between the eyes: nose, mouth.
NOSE, MOUTH = 15.0, 1.0
FACE = np.column_stack([np.array(TEMPLATE), [0, 0, NOSE, MOUTH, MOUTH]])
FACE = FACE - FACE.mean(axis=0)  # [5, 3]: right, down, towards the viewer


def blur(crop: NDArray[np.uint8]) -> float:
    """Return how blurred a crop is, from 0 to 1: what blurring it once more leaves of its edges.

    With differences of neighbouring pixels, d of the image and e of the image after a mean over
    nine pixels of each line, along rows and columns:

        blur = 1 - sum max(|d| - |e|, 0) / sum |d|,   the larger of the two directions

    Contrast drops out. A crop is looked at with 112 pixels on its longer side; an image of one
    colour, which has no edges, is all blur.

    Args:
        crop: RGB uint8 [height, width, 3].

    Source: Crete et al., The blur effect: perception and estimation with a new no-reference
    perceptual blur metric, 2007.
    """
    grey = Image.fromarray(crop).convert("L")
    shrink = max(1, round(max(grey.size) / SIDE))
    values = np.asarray(grey.reduce(shrink), np.float32)
    return max(_blur_along_rows(values), _blur_along_rows(values.T))


def _blur_along_rows(values: NDArray[np.float32]) -> float:
    edges = np.abs(np.diff(values))
    before, after = WINDOW // 2, WINDOW // 2 + 1
    padded = np.pad(values, ((0, 0), (before, after - 1)), "edge")
    # Neighbouring means share all pixels but one each.
    left = np.abs(padded[:, WINDOW:] - padded[:, :-WINDOW]) / WINDOW
    total = float(edges.sum())
    return 1 - float(np.maximum(edges - left, 0).sum()) / total if total else 1.0


def pose(points: ArrayLike) -> tuple[float, float, float]:
    """Return yaw, pitch and roll in degrees of the face with five points [5, 2] in a photo.

    The affine map from an average face to the points by least squares, and the rotation that is
    nearest to it. It tells a face from the front from one from the side; people differ in their
    noses, so single degrees mean nothing, least of all of the pitch.

    >>> [round(angle, 6) + 0.0 for angle in pose(TEMPLATE)]
    [0.0, 0.0, 0.0]
    """
    flat = np.asarray(points, np.float64)
    affine = np.linalg.lstsq(FACE, flat - flat.mean(axis=0))[0].T  # [2, 3]
    left, _, right = np.linalg.svd(affine, full_matrices=False)
    across, down = left @ right  # the rotation's first two rows
    towards = np.cross(across, down)
    yaw = np.arcsin(np.clip(-towards[0], -1, 1))
    pitch = np.arctan2(towards[1], towards[2])
    roll = np.arctan2(down[0], across[0])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))
