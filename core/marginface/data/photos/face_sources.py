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
from marginface.errors import MarginfaceError
from marginface.own_code import in_one_line


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


def detected(
    model: Path,
    *,
    min_score: float = 0.5,
    threads: int | None = None,
    provider: str = "auto",
    turns: bool = True,
) -> FaceSource:
    """Return the faces that an SCRFD or YuNet model finds, photos turned where it pays.

    Without `turns` photos are taken for upright. Raises as `FaceDetector` does.
    """
    from marginface.data.photos.detector import FaceDetector  # needs ONNX Runtime
    from marginface.onnx.digest import onnx_digest

    digest = onnx_digest(model)
    detector = FaceDetector(model, min_score=min_score, threads=threads, provider=provider)
    if not turns:
        origin = f"{digest} {min_score} upright"
        return FaceSource(lambda _, photos: detector(photos), origin, "no face")
    origin = f"{digest} {min_score}"
    return FaceSource(lambda _, photos: find_in_turns(detector, photos), origin, "no face")


def detected_by(
    detector: Callable[[Sequence[NDArray[np.uint8]]], Sequence[Faces]], *, min_score: float = 0.5
) -> FaceSource:
    """Return the faces that a function of photos gives; what it returns is checked.

    Its `origin`, a text, says what decides the faces; its name does where it has none.
    """
    kind = detector if hasattr(detector, "__qualname__") else type(detector)
    name = f"{kind.__module__}.{kind.__qualname__}"

    def find(_: Sequence[str], photos: Sequence[NDArray[np.uint8]]) -> Sequence[Faces]:
        with in_one_line(f"the detector {name} fails", MarginfaceError):
            found = list(detector(photos))
        if len(found) != len(photos):
            raise MarginfaceError(
                f"the detector {name} gives {len(found)} results for {len(photos)} photos; "
                "expected one Faces for each"
            )
        for faces in found:
            _check(faces, name)
        return found

    return FaceSource(find, f"{getattr(detector, 'origin', name)} {min_score}", "no face")


def _check(faces: Faces, name: str) -> None:
    """Raise unless a foreign detector's faces have the shapes that they should."""
    expected = "scores [faces], boxes [faces, 4] and points [faces, 5, 2], finite numbers"
    if not isinstance(faces, Faces):
        raise MarginfaceError(
            f"the detector {name} gives {type(faces).__name__}, expected Faces with {expected}"
        )
    shapes = [np.shape(each) for each in (faces.scores, faces.boxes, faces.points)]
    count = shapes[0][:1]
    if shapes != [count, (*count, 4), (*count, 5, 2)] or not count:
        raise MarginfaceError(
            f"the detector {name} gives shapes {', '.join(map(str, shapes))}; expected {expected}"
        )
    if not all(np.isfinite(each).all() for each in (faces.scores, faces.boxes, faces.points)):
        raise MarginfaceError(f"the detector {name} gives NaN or infinite numbers; {expected}")


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
