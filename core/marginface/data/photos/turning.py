"""Find faces in photos that lie on a side or stand on their head, though no EXIF says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from marginface.data.photos.alignment import fit_similarity, template
from marginface.data.photos.cropping import LEAST_FIT
from marginface.data.photos.detection import Faces
from marginface.errors import MarginfaceError

# Measured with scrfd_2.5g_bnkps on 4,761 photos in their four turns: docs/data.md.
SURE = 0.8  # an upright face scores 0.5 to 0.9, one that is taken for upright in error to 0.79
BETTER = 0.05  # by how much another turn must score more
UPRIGHT = 55  # degrees to either side

Photo = NDArray[np.uint8]
Detect = Callable[[Sequence[Photo]], Sequence[Faces]]


def find_in_turns(detect: Detect, photos: Sequence[Photo]) -> list[Faces]:
    """Return the faces of photos, each looked at in the turn that shows the surest upright face.

    A detector gives points for a face on its head as if it were upright, and a score that may be
    that of a poor photo. The other three turns are looked at where no upright face is sure.

    Args:
        detect: gives the faces of photos.
        photos: RGB uint8 [height, width, 3] each.

    Returns:
        The faces of each photo, in the coordinates of the photo as it was given.
    """
    detections = list(detect(photos))
    doubtful = [at for at, faces in enumerate(detections) if surest(faces, 0) < SURE]
    if not doubtful:
        return detections
    turned = [
        detect([np.rot90(photos[at], quarters) for at in doubtful])  # views: photos may be large
        for quarters in (1, 2, 3)
    ]
    for at, *others in zip(doubtful, *turned, strict=True):
        looks = [detections[at], *others]
        quarters = _best(looks)
        if quarters:
            detections[at] = _turned_back(looks[quarters], quarters, photos[at].shape)
    return detections


def _best(looks: Sequence[Faces]) -> int:
    """Return the quarter turns, counterclockwise, after which a photo has the surest upright face.

    In doubt the photo stays as it is, unless the sideways looks also tell that it stands on its
    head: the points of a face on its side are right.
    """
    upright = [surest(faces, 0) for faces in looks]
    best = int(np.argmax(upright))
    least = upright[0] + BETTER
    if best == 2:
        as_it_is, on_its_head = (
            max(surest(looks[side], side - quarters) for side in (1, 3)) for quarters in (0, 2)
        )
        if on_its_head > as_it_is:
            least = upright[0]
    return best if upright[best] > least else 0


def surest(faces: Faces, quarters: int) -> float:
    """Return the highest score of the faces that a turn by quarters clockwise makes upright."""
    for score, points in zip(faces.scores, faces.points, strict=True):  # the surest first
        try:
            similarity = fit_similarity(points, template())
        except MarginfaceError:
            continue
        off = similarity.factor / 1j**quarters
        if similarity.fit >= LEAST_FIT and abs(np.angle(off, deg=True)) <= UPRIGHT:
            return float(score)
    return 0.0


def _turned_back(faces: Faces, quarters: int, shape: tuple[int, ...]) -> Faces:
    """Map faces of a photo turned counterclockwise to the photo's own coordinates."""
    middle = np.array([shape[1] - 1, shape[0] - 1]) / 2  # of pixel centres
    middle_turned = middle[::-1] if quarters % 2 else middle

    def back(places: NDArray[np.float32]) -> NDArray[np.float32]:
        x, y = np.moveaxis(places - middle_turned, -1, 0)
        for _ in range(quarters):
            x, y = -y, x
        return np.asarray(np.stack([x, y], axis=-1) + middle, np.float32)

    corners = back(faces.boxes.reshape(-1, 2, 2))
    boxes = np.hstack([corners.min(axis=1), corners.max(axis=1)])
    return replace(faces, boxes=boxes, points=back(faces.points))
