"""Sources of the faces in photos: a detector, or a file of landmarks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.photos.detection import NO_FACES, Faces
from marginface.data.photos.turning import find_in_turns


@dataclass(frozen=True)
class FaceSource:
    """Gives the faces of photos.

    Attributes:
        find: names of photos, and the photos, RGB uint8 [height, width, 3], to the faces of each.
        origin: everything that decides the faces: same origin, same faces.
        missing: the detail to report of a photo without faces.
        names: photos that should be there, as `printable`.
        whole: the faces are in pixels of the whole photo, of which `find` may get a reduced one.
    """

    find: Callable[[Sequence[str], Sequence[NDArray[np.uint8]]], Sequence[Faces]]
    origin: str
    missing: str
    names: Collection[str] = ()
    whole: bool = False


def detected(model: Path, *, min_score: float = 0.5) -> FaceSource:
    """Return the faces that an SCRFD model finds, photos turned where it pays.

    Raises as `FaceDetector` does.
    """
    from marginface.data.photos.detector import FaceDetector  # needs ONNX Runtime
    from marginface.onnx.digest import onnx_digest

    digest = onnx_digest(model)
    detector = FaceDetector(model, min_score=min_score)
    origin = f"{digest} {min_score}"
    return FaceSource(lambda _, photos: find_in_turns(detector, photos), origin, "no face")


def annotated(landmarks: Path) -> FaceSource:
    """Return the faces that a file of landmarks gives; raises as `read_landmarks` does."""
    from marginface.data.photos.landmarks import read_landmarks

    faces = read_landmarks(landmarks)
    return FaceSource(
        lambda names, _: [faces.get(name, NO_FACES) for name in names],
        _digest(landmarks),
        "no landmarks",
        faces.keys(),
        whole=True,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
