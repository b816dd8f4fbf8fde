"""A face of a photo, with all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

NO_FACE, UNREADABLE = "no face", "unreadable"  # why a photo gives none
NO_CROP = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class Quality:
    """Quality of a face; NaN for what only landmarks tell, where there are none.

    Attributes:
        size: pixels of the photo that the longer side of the crop spans; of a crop, its own.
        blur: of the crop, from 0, sharp, to 1 (`marginface.serving.quality.blur`).
        yaw: degrees by which the face is turned, above 0 to the right as one sees it.
        pitch: degrees by which it is raised, above 0 upwards.
        roll: degrees by which it leans, above 0 clockwise.
        norm: length of the model's embedding before it is summed with the mirror image's. Some
            models are trained so that it tells the quality; others give the same for all.
    """

    size: float
    blur: float
    yaw: float
    pitch: float
    roll: float
    norm: float


@dataclass(frozen=True, eq=False)
class Face:
    """A face that a `Recogniser` gives.

    Attributes:
        photo: name of the photo; its number, from 0, where it was an array.
        box: [4], left, top, right, bottom in pixels of the photo.
        points: [5, 2], as (x, y): left eye, right eye, nose, left and right mouth corner; NaN for
            an image that is a crop already.
        score: the detector's, 0 to 1; 1 for a crop.
        quality: size, blur, pose and norm.
        crop: aligned, RGB uint8 [height, width, 3]; [0, 0, 3] where there is a `problem`.
        embedding: float32 [size], not normalised; [0] where there is a `problem`.
        problem: why the face was not embedded: "points form no face", "face too small" or "face cut
            off"; empty where it was.
    """

    photo: str
    box: NDArray[np.float32]
    points: NDArray[np.float32]
    score: float
    quality: Quality
    crop: NDArray[np.uint8]
    embedding: NDArray[np.float32]
    problem: str = ""

    def without_crop(self) -> Face:
        """Return the face without its pixels, which are most of its memory."""
        return replace(self, crop=NO_CROP)


def largest(faces: Sequence[Face]) -> int:
    """Return the place of the face with the largest box, as `marginface data align` chooses."""
    boxes = np.array([face.box for face in faces])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return int(np.argmax(np.where(np.isnan(areas), -np.inf, areas)))
