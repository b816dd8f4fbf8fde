"""Two photos to an answer: one person or two, or why there is none."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from marginface.calling import public, worded
from marginface.errors import MarginfaceError
from marginface.evaluation.calibration import Rate
from marginface.serving.comparison_picture import draw
from marginface.serving.recogniser import Recogniser
from marginface.serving.sides import Chosen, Limits, Side, choose, each_chosen
from marginface.serving.thresholds import Calibration, Decision
from marginface.text import printable
from marginface.vectors import pair_scores

SAME_PIXELS = "both faces are the same pixels: one photo twice says nothing of a person"


@dataclass(frozen=True, eq=False)
class FaceComparison:
    """What two photos say: `answer` in a word.

    Attributes:
        sides: the two photos.
        score: the cosine of the two faces; None without two faces.
        decision: at the false accept rate; None without one, or where a photo is of no use.
        notes: what to know of it.
        flip: whether the mirror images' embeddings were added.
    """

    sides: tuple[Side, Side]
    score: float | None
    decision: Decision | None
    notes: tuple[str, ...]
    flip: bool

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
            "flip": self.flip,
            "notes": list(self.notes),
            "photos": [side.to_json() for side in self.sides],
        }

    def lines(self) -> list[str]:
        """Return the answer in words."""
        told = [f"no answer: {problem}" for problem in self.problems]
        score = "" if self.score is None else f"cosine {self.score:.4f}"
        if self.decision is not None:
            at = self.decision.threshold
            told.append(
                f"{self.answer}: {score}, threshold {at.value:.4f} ({at.low:.4f} to {at.high:.4f}) "
                f"at a false accept rate of {at.far:g}"
            )
            share, low, high = at.true_accepts
            told.append(
                f"expected errors: {_rate(at.false_accepts)} of different people pass as one,"
            )
            told.append(f"and {_rate((1 - share, 1 - high, 1 - low))} of the same are missed")
            if self.answer == "unsure":
                told.append(
                    "the cosine lies within the threshold's interval, which more pairs would narrow"
                )
        elif score:
            told.append(score)
            if not self.problems:
                told.append(
                    worded(
                        "no decision without --far; "
                        "marginface calibrate measures the thresholds for it"
                    )
                )
        return told + [f"note: {note}" for note in self.notes]

    def picture(self) -> Image.Image:
        """Draw both photos with their faces, the crops, and the score beside the threshold.

        Raises:
            MarginfaceError: a photo cannot be read any more.
        """
        return draw(self.sides, self.lines(), self.answer, self.score, self.decision)

    def __repr__(self) -> str:
        return "\n".join(map(printable, self.lines()))

    def _repr_html_(self) -> str:
        told = escape(repr(self)).replace("\n", "<br>")
        try:
            file = BytesIO()
            self.picture().save(file, "png")
        except MarginfaceError:  # a photo is gone, the answer is not
            return f"<p>{told}</p>"
        drawn = b64encode(file.getvalue()).decode()
        return f'<img alt="{escape(self.answer)}" src="data:image/png;base64,{drawn}"><p>{told}</p>'


class Comparer:
    """Compares any number of pairs of photos with one model.

    Args:
        recogniser: finds and embeds the faces, with the flip of the calibration.
        calibration: the thresholds of this model and use.
        far: the false accept rate to decide at. Without both: scores alone.
        limits: what a face must have.
        notes: what to say with every answer.

    Raises:
        MarginfaceError: one without the other, or a rate that the calibration does not have.
    """

    @public
    def __init__(
        self,
        recogniser: Recogniser,
        *,
        calibration: Calibration | None = None,
        far: float | None = None,
        limits: Limits | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        if (calibration is None) != (far is None):
            raise MarginfaceError(
                "photos are compared by a calibration at a far; give both or none"
            )
        if calibration is not None and far is not None:
            calibration.at(far)
        if not isinstance(notes, (list, tuple)):
            raise MarginfaceError(f"notes must be a list of texts, got {type(notes).__name__}")
        self.recogniser, self.calibration, self.far = recogniser, calibration, far
        self.limits, self.notes = limits or Limits(), tuple(notes)

    @public
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
        chosen = each_chosen(face)
        found = self.recogniser([first, second])
        one, two = (
            choose(*of_photo, self.limits, self.recogniser.max_pixels)
            for of_photo in zip((first, second), names, found, chosen, strict=True)
        )
        score, decision, notes = None, None, self.notes
        if one.face is not None and two.face is not None:
            pair = np.stack([one.face.embedding, two.face.embedding])
            score = float(pair_scores(pair, np.array([0]), np.array([1]))[0])
            if (
                self.calibration is not None
                and self.far is not None
                and not (one.problem or two.problem)
            ):
                decision = self.calibration.decide(score, self.far)
            if np.array_equal(one.face.crop, two.face.crop):
                notes = (*notes, SAME_PIXELS)
        return FaceComparison((one, two), score, decision, notes, self.recogniser.flip)


def _rate(rate: Rate) -> str:
    """Return a rate with its interval.

    >>> _rate((0.1, 0.0875, 0.1141))
    '10.00% (8.75 to 11.41)'
    """
    share, low, high = rate
    return f"{share:.2%} ({low * 100:.2f} to {high * 100:.2f})"


def _name(photo: Any, otherwise: str) -> str:
    return str(photo) if isinstance(photo, (str, PathLike)) else otherwise
