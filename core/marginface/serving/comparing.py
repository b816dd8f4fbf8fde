"""Two photos to an answer: one person or two, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import numpy as np

from marginface.errors import MarginfaceError
from marginface.serving.faces import Face
from marginface.serving.recogniser import Recogniser
from marginface.serving.thresholds import Calibration, Decision
from marginface.vectors import pair_scores

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
    """

    min_face: float = MIN_FACE
    max_blur: float = MAX_BLUR


@dataclass(frozen=True, eq=False)
class Side:
    """One of two photos.

    Attributes:
        photo: its name.
        faces: all that were found, the surest first.
        face: the one that is compared; None where there is none.
        problem: why there is none, or why it is no use; "" where all is well.
    """

    photo: str
    faces: list[Face]
    face: Face | None
    problem: str


@dataclass(frozen=True, eq=False)
class FaceComparison:
    """What two photos say: `answer` in a word.

    Attributes:
        sides: the two photos.
        score: the cosine of the two faces; None without two faces.
        decision: at the false accept rate; None without one, or where a photo is of no use.
        notes: what to know of it.
    """

    sides: tuple[Side, Side]
    score: float | None
    decision: Decision | None
    notes: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Return why there is no answer."""
        return tuple(f"{side.photo}: {side.problem}" for side in self.sides if side.problem)

    @property
    def answer(self) -> str:
        """Return "same", "not same", "unsure", "no answer", or "undecided" without a threshold."""
        if self.problems:
            return "no answer"
        return "undecided" if self.decision is None else self.decision.answer

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        threshold = None if self.decision is None else self.decision.threshold
        return {
            "score": self.score,
            "decision": None if self.decision is None else self.decision.answer,
            "problems": list(self.problems),
            "far": None if threshold is None else threshold.far,
            "threshold": None if threshold is None else threshold.value,
            "threshold_interval": None if threshold is None else [threshold.low, threshold.high],
            "false_accepts": None if threshold is None else list(threshold.false_accepts),
            "true_accepts": None if threshold is None else list(threshold.true_accepts),
            "notes": list(self.notes),
            "photos": [
                {
                    "photo": side.photo,
                    "faces": len(side.faces),
                    "problem": side.problem or None,
                    "face": None if side.face is None else _described(side.face),
                }
                for side in self.sides
            ],
        }


class Comparer:
    """Compares any number of pairs of photos with one model.

    Args:
        recogniser: finds and embeds the faces, with the flip of the calibration.
        calibration: the thresholds of this model and use; None gives scores alone.
        far: the false accept rate to decide at; None gives scores alone.
        limits: what a face must have.
        notes: what to say with every answer.

    Raises:
        MarginfaceError: the calibration cannot decide at this rate.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        *,
        calibration: Calibration | None = None,
        far: float | None = None,
        limits: Limits | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        if calibration is not None and far is not None:
            calibration.at(far)
        self.recogniser, self.calibration, self.far = recogniser, calibration, far
        self.limits, self.notes = limits or Limits(), tuple(notes)

    def __call__(self, first: Any, second: Any, *, face: Chosen = None) -> FaceComparison:
        """Compare the faces of two photos, each a path, an array or a PIL image.

        Args:
            first, second: the photos.
            face: which one where a photo has several: "largest", or a number, from 0 in the order
                of the detector's scores; for each photo, or one for both. None gives no answer.

        Raises:
            MarginfaceError: a photo cannot be read, or it has no such face.
        """
        names = [_name(first, "the first photo"), _name(second, "the second photo")]
        chosen = face if isinstance(face, tuple) else (face, face)
        one, two = (
            _side(*of_photo, self.limits)
            for of_photo in zip(names, self.recogniser([first, second]), chosen, strict=True)
        )
        score, decision = None, None
        if one.face is not None and two.face is not None:
            pair = np.stack([one.face.embedding, two.face.embedding])
            score = float(pair_scores(pair, np.array([0]), np.array([1]))[0])
            decided = self.calibration is not None and self.far is not None
            if decided and not (one.problem or two.problem):
                assert self.calibration is not None
                assert self.far is not None
                decision = self.calibration.decide(score, self.far)
        return FaceComparison((one, two), score, decision, self.notes)


def _name(photo: Any, otherwise: str) -> str:
    return str(photo) if isinstance(photo, (str, PathLike)) else otherwise


def _side(name: str, faces: list[Face], which: Which, limits: Limits) -> Side:
    if not faces:
        return Side(name, faces, None, "no face")
    usable = [face for face in faces if not face.problem]
    if not usable:
        return Side(name, faces, None, " and ".join(sorted({face.problem for face in faces})))
    if which is None and len(usable) > 1:
        told = f"{len(usable)} faces; say which with --face: largest, or its number"
        return Side(name, faces, None, told)
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
    return Side(name, faces, face, problem)


def _chosen(name: str, faces: list[Face], usable: list[Face], which: str | int) -> Face:
    if which == "largest":
        return max(usable, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])))
    if not isinstance(which, int) or not 0 <= which < len(faces):
        raise MarginfaceError(
            f"--face takes largest, or the number of a face, in {name} 0 to {len(faces) - 1}; got "
            f"{which!r}"
        )
    if faces[which].problem:
        raise MarginfaceError(f"{name}: face {which} is of no use: {faces[which].problem}")
    return faces[which]


def _described(face: Face) -> dict[str, Any]:
    quality = {
        name: round(value, 4) if np.isfinite(value) else None
        for name, value in asdict(face.quality).items()
    }
    return {
        "box": [round(float(value), 1) for value in face.box],
        "points": [[round(float(v), 1) for v in point] for point in face.points]
        if np.isfinite(face.points).all()
        else None,
        "score": round(face.score, 4),
        **quality,
    }
