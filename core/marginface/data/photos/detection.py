"""From the outputs of SCRFD or YuNet to boxes, scores and five points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRIDES = (8, 16, 32)
MAX_OVERLAP = 0.4  # of two boxes that are two faces, as intersection over union

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Faces:
    """The faces of one photo, the surest first; coordinates in its pixels.

    Attributes:
        scores: [faces], in 0..1.
        boxes: [faces, 4] as left, top, right, bottom.
        points: [faces, 5, 2] as (x, y): left eye, right eye, nose, left and right mouth corner.
    """

    scores: Floats
    boxes: Floats
    points: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Faces:
        """Return some of the faces."""
        return Faces(self.scores[chosen], self.boxes[chosen], self.points[chosen])

    def magnified(self, factor: float) -> Faces:
        """Return the faces in a photo of so many times the size; pixels are counted by centres."""
        if factor == 1:
            return self
        boxes, points = ((places + 0.5) * factor - 0.5 for places in (self.boxes, self.points))
        return Faces(self.scores, boxes, points)


NO_FACES = Faces(*(np.empty((0, *shape), np.float32) for shape in ((), (4,), (5, 2))))


def decode(
    levels: Sequence[tuple[Floats, Floats, Floats]], size: tuple[int, int], min_score: float
) -> Faces:
    """Return the faces that SCRFD sees, several boxes for one face.

    Every cell of a level has some anchors, all centred on its first pixel, (column, row) * stride:

        box = (x - left, y - top, x + right, y + bottom),   point = (x + dx, y + dy)

    with the distances in units of the stride.

    Args:
        levels: for each stride the scores [rows, 1], distances to the sides [rows, 4] and to the
            points [rows, 10]; a row for each anchor of each cell, line by line.
        size: (height, width) of the network's input in pixels, multiples of the strides.
        min_score: what scores less is no face.

    Source: Guo et al., Sample and Computation Redistribution for Efficient Face Detection, 2021.
    """
    of_levels = []
    for stride, (scores, sides, points) in zip(STRIDES, levels, strict=True):
        rows, columns = size[0] // stride, size[1] // stride
        anchors = len(scores) // (rows * columns)
        (at,) = np.nonzero(scores[:, 0] >= min_score)
        y, x = np.divmod(at // anchors, columns)
        centers = np.stack([x, y], axis=1).astype(np.float32)
        low, high = centers - sides[at, :2], centers + sides[at, 2:]
        to = centers[:, None] + points[at].reshape(-1, 5, 2)
        of_levels.append(Faces(scores[at, 0], np.hstack([low, high]) * stride, to * stride))
    return _surest_first(of_levels)


def decode_yunet(
    levels: Sequence[tuple[Floats, Floats, Floats, Floats]], size: tuple[int, int], min_score: float
) -> Faces:
    """Return the faces that YuNet sees, several boxes for one face.

    Every cell has one anchor at its first pixel, (column, row) * stride:

        score = sqrt(class * objectness),   each cut to 0..1
        middle of the box = (x + dx, y + dy),   its sides = (exp(w), exp(h))
        point = (x + dx, y + dy)

    with all in units of the stride.

    Args:
        levels: for each stride class and objectness [rows, 1], boxes [rows, 4] and points
            [rows, 10]; a row for each cell, line by line.
        size: (height, width) of the network's input in pixels, multiples of the strides.
        min_score: what scores less is no face.

    Source: Wu et al., YuNet: A Tiny Millisecond-level Face Detector, 2023.
    """
    of_levels = []
    for stride, (classes, objects, boxes, points) in zip(STRIDES, levels, strict=True):
        scores: Floats = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
        (at,) = np.nonzero(scores >= min_score)
        y, x = np.divmod(at, size[1] // stride)
        cells = np.stack([x, y], axis=1).astype(np.float32)
        middle, half = cells + boxes[at, :2], np.exp(boxes[at, 2:]) / 2
        to = cells[:, None] + points[at].reshape(-1, 5, 2)
        corners = np.hstack([middle - half, middle + half]) * stride
        of_levels.append(Faces(scores[at], np.asarray(corners, np.float32), to * stride))
    return _surest_first(of_levels)


def _surest_first(of_levels: Sequence[Faces]) -> Faces:
    scores, boxes, points = zip(*((f.scores, f.boxes, f.points) for f in of_levels), strict=True)
    every = Faces(np.concatenate(scores), np.concatenate(boxes), np.concatenate(points))
    return every[np.argsort(-every.scores, kind="stable")]


def suppress(faces: Faces, max_overlap: float = MAX_OVERLAP) -> Faces:
    """Return the faces without those whose box overlaps a surer one's (non-maximum suppression).

    Args:
        faces: the surest first.
        max_overlap: intersection over union of two boxes up to which both stay.
    """
    left, top, right, bottom = faces.boxes.T
    areas = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    kept: list[int] = []
    remaining = np.arange(len(faces))
    while len(remaining):
        best, others = remaining[0], remaining[1:]
        kept.append(int(best))
        wide = np.minimum(right[best], right[others]) - np.maximum(left[best], left[others])
        tall = np.minimum(bottom[best], bottom[others]) - np.maximum(top[best], top[others])
        shared = np.maximum(wide, 0) * np.maximum(tall, 0)
        union = areas[best] + areas[others] - shared
        remaining = others[shared <= max_overlap * union]
    return faces[np.array(kept, np.int64)]
