"""A photo that is compared: its faces, and the one that is meant, or why there is none."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.calling import worded
from marginface.checks import check_fraction, check_spread
from marginface.data.images import read_photo, upright_pixels
from marginface.errors import MarginfaceError
from marginface.serving.faces import Face, largest

# Measured with a MobileFaceNet on LFW, one photo of each pair made worse: docs/compare.md.
MIN_FACE = 32  # pixels of the photo that the crop must span; below, people are missed
MAX_BLUR = 0.8

Which = str | int | None
Chosen = Which | tuple[Which, Which]


@dataclass(frozen=True)
class Limits:
    """What a face must have to be compared: a poor one says "not same" of anybody.

    Args:
        min_face: pixels of the photo that the crop's longer side must span.
        max_blur: most blur, 0 to 1.

    Raises:
        MarginfaceError: a limit is no such number.
    """

    min_face: float = MIN_FACE
    max_blur: float = MAX_BLUR

    def __post_init__(self) -> None:
        """Check the numbers: with NaN for a limit every face would pass."""
        check_spread("min_face", self.min_face)
        check_fraction("max_blur", self.max_blur)


@dataclass(frozen=True, eq=False)
class Side:
    """One of two photos.

    Attributes:
        photo: its name.
        faces: all that were found, the surest first.
        face: the one that is compared; None where there is none.
        problem: why there is none, or why it is no use; "" where all is well.
        source: the photo as it was given.
        max_pixels: of a photo that is decoded.
    """

    photo: str
    faces: list[Face]
    face: Face | None
    problem: str
    source: Any
    max_pixels: int

    def read(self) -> tuple[NDArray[np.uint8], int]:
        """Return the photo, RGB uint8 [height, width, 3], and by what its sides were divided.

        Raises:
            MarginfaceError: it cannot be read any more.
        """
        if isinstance(self.source, (str, PathLike)):
            return read_photo(Path(self.source), max_pixels=self.max_pixels)
        if isinstance(self.source, Image.Image):
            return upright_pixels(self.source), 1
        return self.source, 1

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "photo": self.photo,
            "faces": len(self.faces),
            "boxes": [_rounded(face.box) for face in self.faces],
            "problem": self.problem or None,
            "face": None if self.face is None else self._described(self.face),
        }

    def _described(self, face: Face) -> dict[str, Any]:
        quality = {
            name: round(value, 4) if np.isfinite(value) else None
            for name, value in asdict(face.quality).items()
        }
        points = [_rounded(point) for point in face.points]
        return {
            "number": next(at for at, each in enumerate(self.faces) if each is face),
            "box": _rounded(face.box),
            "points": points if np.isfinite(face.points).all() else None,
            "score": round(face.score, 4),
            **quality,
        }


def _rounded(values: NDArray[np.float32]) -> list[float]:
    return [round(float(value), 1) for value in values]


def each_chosen(face: Any) -> tuple[Which, Which]:
    """Return which face is meant of each photo.

    Raises:
        MarginfaceError: it is nothing that can say so.
    """
    first, second = face if isinstance(face, (tuple, list)) and len(face) == 2 else (face, face)
    for which in (first, second):
        whole = isinstance(which, int) and not isinstance(which, bool)
        if not (which is None or whole or (isinstance(which, str) and which == "largest")):
            raise MarginfaceError(
                "--face takes largest, or the number of a face from 0, or a pair of these for two "
                f"photos; got {which!r}"
            )
    return first, second


def choose(
    source: Any, name: str, faces: list[Face], which: Which, limits: Limits, max_pixels: int
) -> Side:
    """Return a photo with the face of it that is compared, or why there is none.

    Raises:
        MarginfaceError: it has no such face.
    """
    face, problem = _face(name, faces, which, limits)
    return Side(name, faces, face, problem, source, max_pixels)


def _face(name: str, faces: list[Face], which: Which, limits: Limits) -> tuple[Face | None, str]:
    if not faces:
        return None, "no face"
    usable = [face for face in faces if not face.problem]
    if not usable:
        return None, " and ".join(sorted({face.problem for face in faces}))
    if which is None and len(usable) > 1:
        return None, worded(f"{len(usable)} faces; say which with --face: largest, or its number")
    face = usable[0] if which is None else _chosen(name, faces, usable, which)
    problem = ""
    if face.quality.size < limits.min_face:
        problem = (
            f"the face is too small: its crop spans {face.quality.size:.0f} pixels, expected "
            f"{limits.min_face:g} (--min-face)"
        )
    elif face.quality.blur > limits.max_blur:
        problem = (
            f"the face is too blurred: {face.quality.blur:.2f}, expected at most "
            f"{limits.max_blur:g} (--max-blur)"
        )
    return face, worded(problem)


def _chosen(name: str, faces: list[Face], usable: list[Face], which: str | int) -> Face:
    if which == "largest":
        return usable[largest(usable)]
    if not (isinstance(which, int) and 0 <= which < len(faces)):
        raise MarginfaceError(
            f"--face takes largest, or the number of a face, in {name} 0 to {len(faces) - 1}; got "
            f"{which!r}"
        )
    if faces[which].problem:
        raise MarginfaceError(f"{name}: face {which} is of no use: {faces[which].problem}")
    return faces[which]
