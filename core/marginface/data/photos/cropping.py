"""One photo and its faces to one aligned crop, or the reason why there is none."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.data.photos.alignment import Similarity, fit_similarity, template, warp
from marginface.data.photos.detection import Faces
from marginface.errors import MarginfaceError, unknown_name

ALIGNED = "aligned"
NOT_A_FACE, TOO_SMALL, CUT_OFF = "points form no face", "face too small", "face cut off"
# Faces in profile fit by 0.55 and more, exchanged eyes by 0.3, a mirrored face by 0.05.
LEAST_FIT = 0.4
# Points on a line fit by up to 0.61, so how broad they lie counts as well: their spread across the
# line that fits them best over that along it, 0.66 and more in photos looked at.
LEAST_BREADTH = 0.1
LEAST_INSIDE = 0.5  # of the crop's area in the photo
CHOICES = ("largest", "central")
FORMATS = ("jpg", "png")

Photo = NDArray[np.uint8]


@dataclass(frozen=True)
class CropOptions:
    """Options of cropping: which face, its least size, size and format of the crop.

    Args:
        size: (height, width) of the crops in pixels.
        face: which one where a photo has several: "largest" box, or "central", nearest the middle.
        min_face: the crop's longer side must span so many pixels of the photo.
        format: "jpg" or "png".
        quality: of JPEG, 1 to 100.
        all: crop also where the points form no face, or most of the crop lies outside the photo, as
            benchmarks that count every image do.
    """

    size: tuple[int, int] = (112, 112)
    face: str = "largest"
    min_face: float = 0
    format: str = "jpg"
    quality: int = 95
    all: bool = False

    def __post_init__(self) -> None:
        template(self.size)
        if self.face not in CHOICES:
            raise unknown_name("face", self.face, CHOICES)
        if self.format not in FORMATS:
            raise unknown_name("format", self.format, FORMATS)
        if not 1 <= self.quality <= 100:
            raise MarginfaceError(f"quality must be 1 to 100, got {self.quality}")


@dataclass(frozen=True)
class Outcome:
    """The outcome of cropping a photo.

    Attributes:
        path: of the photo in its folder.
        status: "aligned", or why there is no crop.
        detail: more on it.
        score: the detector's, of the face that was chosen; NaN where there is none.
        faces: how many were found.
        points: [5, 2] of the chosen face in pixels of the photo.
        scale: pixels of the crop for one of the photo; 0 without one.
        turn: 0, 90, 180 or 270 degrees clockwise, what is nearest to how the crop is turned; None
            without one.
    """

    path: str
    status: str
    detail: str = ""
    score: float = math.nan
    faces: int = 0
    points: NDArray[np.float64] | None = None
    turn: int | None = None
    scale: float = 0


def crop_face(path: str, photo: Photo, faces: Faces, options: CropOptions, target: Path) -> Outcome:
    """Write the crop of one of a photo's faces (one or more) to `target`, where it can be made."""
    chosen = choose(faces, photo, options.face)
    points = np.asarray(faces.points[chosen], np.float64)
    status, similarity = judge(points, photo, options)
    turn, scale = None, 0.0
    if similarity is not None:
        scale = similarity.scale
        turn = round(np.angle(similarity.factor) / (np.pi / 2)) % 4 * 90
        crop = Image.fromarray(warp(photo, similarity, options.size))
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            if options.format == "jpg":
                crop.save(file, "JPEG", quality=options.quality, subsampling=0)
            else:
                crop.save(file, "PNG")
            file.flush()
            os.fsync(file.fileno())  # it is whole before the table says so
    score = float(faces.scores[chosen])
    return Outcome(path, status, "", score, len(faces), points, turn, scale)


def choose(faces: Faces, photo: Photo, which: str) -> int:
    """Return the index of the largest face, or of the one nearest to the middle of the photo."""
    low, high = faces.boxes[:, :2], faces.boxes[:, 2:]
    if which == "largest":
        return int(np.argmax(np.prod(high - low, axis=1)))
    middle = np.array([photo.shape[1], photo.shape[0]]) / 2
    return int(np.argmin(np.linalg.norm((low + high) / 2 - middle, axis=1)))


def judge(
    points: NDArray[np.float64], photo: Photo, options: CropOptions
) -> tuple[str, Similarity | None]:
    """Return the status of a face with points [5, 2], with the similarity to crop it by.

    There is a similarity where the status is `ALIGNED`.
    """
    try:
        similarity = fit_similarity(points, template(options.size))
    except MarginfaceError:
        return NOT_A_FACE, None
    if options.all:
        return ALIGNED, similarity
    along, across = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if similarity.fit < LEAST_FIT or across < LEAST_BREADTH * along:
        return NOT_A_FACE, None
    if max(options.size) / similarity.scale < options.min_face:
        return TOO_SMALL, None
    if _share_inside(similarity, options.size, photo) < LEAST_INSIDE:
        return CUT_OFF, None
    return ALIGNED, similarity


def _share_inside(similarity: Similarity, size: tuple[int, int], photo: Photo) -> float:
    """Return the share of the crop's area that lies in the photo, from 32 x 32 places of it."""
    beyond = np.array([photo.shape[1], photo.shape[0]]) - 0.5
    right, bottom = size[1] - 0.5, size[0] - 0.5
    corners = similarity.inverse([[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]])
    if (corners >= -0.5).all() and (corners <= beyond).all():
        return 1.0
    steps = (np.arange(32) + 0.5) / 32
    x, y = np.meshgrid(steps * size[1] - 0.5, steps * size[0] - 0.5)
    places = similarity.inverse(np.stack([x.ravel(), y.ravel()], axis=1))
    inside = (places >= -0.5) & (places <= beyond)
    return float(inside.all(axis=1).mean())
