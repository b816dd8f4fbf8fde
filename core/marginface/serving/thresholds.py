"""Thresholds that are kept with a model, and the decisions that they give."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from marginface.calling import public, worded
from marginface.checks import as_path
from marginface.embeddings.embedder import Embedder
from marginface.embeddings.origin import CROPS
from marginface.errors import MarginfaceError
from marginface.evaluation.calibration import Threshold, check_far, named, needed
from marginface.model import THRESHOLDS_KEY

VERSION: Literal[1] = 1
LONGEST = 1 << 20  # characters
STRICT = ConfigDict(strict=True, extra="forbid")

Answer = Literal["same", "not same", "unsure"]


@dataclass(frozen=True)
class Decision:
    """What a score says of two faces.

    Attributes:
        answer: "same", "not same", or "unsure": the score lies within the threshold's interval.
        score: the cosine.
        threshold: with its interval and the errors to expect.
    """

    answer: Answer
    score: float
    threshold: Threshold


@checked_dataclass(frozen=True, config=STRICT)
class Calibration:
    """Thresholds of a model, for one way of using it.

    Attributes:
        fingerprint: of the model with its preprocessing, as `Embedder` has it.
        flip: whether embeddings are summed with the mirror image's.
        faces: "crops", or the digest of the detector that found the faces.
        pairs: name of the list.
        same_pairs, different_pairs: numbers of its pairs.
        thresholds: for each false accept rate, the highest first.
    """

    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    flip: bool
    faces: Annotated[str, Field(max_length=1000)]
    pairs: Annotated[str, Field(max_length=10_000)]
    same_pairs: Annotated[int, Field(ge=1)]
    different_pairs: Annotated[int, Field(ge=1)]
    thresholds: tuple[Threshold, ...]

    @property
    def use(self) -> tuple[str, bool, str]:
        """Return what it is for: the model, the flip, the source of faces."""
        return self.fingerprint, self.flip, self.faces

    @public
    def at(self, far: float) -> Threshold:
        """Return the threshold for a false accept rate.

        Raises:
            MarginfaceError: it was not calibrated, or the list was too small to show it.
        """
        rate = named(check_far(far))
        known = {named(each.far): each for each in self.thresholds}
        ready = ", ".join(named(each.far) for each in self.thresholds if each.supported)
        if rate not in known:
            others = f", but for: {ready}; take one of these, or" if ready else ";"
            raise MarginfaceError(
                f"the model is not calibrated for a false accept rate of {rate}{others} calibrate "
                f"it with --far {rate}"
            )
        if not known[rate].supported:
            raise MarginfaceError(
                f"{self.pairs} has {self.different_pairs:,} different pairs, too few to show a "
                f"false accept rate of {rate}, which takes {needed(far):,}; calibrate with more "
                "pairs" + (f", or take one of: {ready}" if ready else "")
            )
        return known[rate]

    def decides_at(self, far: float) -> bool:
        """Return whether there is a threshold for a false accept rate."""
        return any(named(each.far) == named(far) and each.supported for each in self.thresholds)

    def decide(self, score: float, far: float) -> Decision:
        """Return what a score means at a false accept rate; raises as `at`."""
        threshold = self.at(far)
        answer: Answer = "unsure"
        if score >= threshold.high:
            answer = "same"
        elif score < threshold.low:
            answer = "not same"
        return Decision(answer, score, threshold)


@checked_dataclass(frozen=True, config=STRICT)
class _Stored:
    """What is written."""

    version: Literal[1]
    calibrations: tuple[Calibration, ...]


_STORED = TypeAdapter(_Stored)


def to_text(calibrations: Iterable[Calibration]) -> str:
    """Return calibrations as JSON."""
    return json.dumps(_STORED.dump_python(_Stored(VERSION, tuple(calibrations)), mode="json"))


def from_text(text: str, source: Path) -> tuple[Calibration, ...]:
    """Read what `to_text` wrote.

    Raises:
        MarginfaceError: it is something else, or of a later version.
    """
    version: object = None
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        version = json.loads(text[:LONGEST])["version"]
    if isinstance(version, int) and version > VERSION:
        raise MarginfaceError(
            f"the thresholds in {source} are of version {version}, this marginface knows version "
            f"{VERSION}; update marginface, or calibrate again"
        )
    try:
        return _STORED.validate_json(text[:LONGEST]).calibrations
    except ValidationError:
        raise MarginfaceError(
            f"the thresholds in {source} are not what marginface writes; calibrate again"
        ) from None


def read_calibrations(model: str | Path) -> tuple[Calibration, ...]:
    """Return the calibrations that a model's file or folder has; () without any.

    Raises:
        MarginfaceError: as `from_text`, or the file is no model.
    """
    place = as_path("model", model)
    if place.is_dir():
        from marginface.runs.folder import RunFolder

        path = RunFolder(place).thresholds
        return from_text(path.read_text(encoding="utf-8"), path) if path.is_file() else ()
    from marginface.onnx.metadata import read_metadata

    text = read_metadata(place).get(THRESHOLDS_KEY)
    return () if text is None else from_text(text, place)


def added(calibrations: Sequence[Calibration], new: Calibration) -> tuple[Calibration, ...]:
    """Return calibrations with one more, in the place of one for the same use."""
    return (*(each for each in calibrations if each.use != new.use), new)


def find_calibration(
    calibrations: Sequence[Calibration],
    embedder: Embedder,
    *,
    far: float | None = None,
    flip: bool | None = None,
    faces: str = CROPS,
) -> tuple[Calibration, str]:
    """Return the calibration for a way of using a model, and what to note of it, or "".

    Args:
        calibrations: of `read_calibrations`.
        embedder: the model.
        far: the false accept rate that it is to decide at; any for None.
        flip: whether embeddings are summed with the mirror image's; as calibrated last for None.
        faces: what the faces come from: "crops", or the digest of the detector. Without a
            calibration with this detector, one on crops is taken.

    Raises:
        MarginfaceError: there is none, for this model or for this use of it, or none at this rate.
    """
    if not calibrations:
        raise MarginfaceError(
            "the model has no thresholds; marginface calibrate measures them on pairs and keeps "
            "them with it"
        )
    own = [each for each in calibrations if each.fingerprint == embedder.fingerprint]
    if not own:
        raise MarginfaceError(
            "the thresholds are those of another model or of another preprocessing (fingerprint "
            f"{calibrations[0].fingerprint[:12]}, this is {embedder.fingerprint[:12]}); calibrate "
            "it again"
        )
    for wanted in dict.fromkeys((faces, CROPS)):
        measured = [each for each in own if each.faces == wanted]  # with the flip, and without
        fitting = [each for each in measured if flip in (None, each.flip)]
        if not fitting:
            continue
        found, notes = fitting[-1], []
        other = next((each for each in measured if each.flip != found.flip), None)
        if far is not None:
            _require_rate(found, far, other)
        if wanted != faces:
            notes.append(
                f"the thresholds were measured on the crops of {found.pairs}, not with this "
                "detector"
            )
        if other is not None and flip is None:
            notes.append(
                f"there are thresholds with and without the mirror image; those measured last are "
                f"taken ({_option(found)}); {_option(other)} takes the others"
            )
        return found, worded("; ".join(notes))
    uses = ", ".join(sorted({_in_words(each, faces) for each in own}))
    raise MarginfaceError(
        f"the model is not calibrated for this use, but for: {uses}; use it so, or calibrate it as "
        "it is used"
    )


def _require_rate(found: Calibration, far: float, other: Calibration | None) -> None:
    """Raise as `Calibration.at`, and name the other flip where that has the rate."""
    try:
        found.at(far)
    except MarginfaceError as error:
        if other is None or not other.decides_at(far):
            raise
        raise MarginfaceError(f"{error}; with {worded(_option(other))} it has that rate") from None


def _option(calibration: Calibration) -> str:
    return "--flip" if calibration.flip else "--no-flip"


def _in_words(calibration: Calibration, wanted: str) -> str:
    if calibration.faces == CROPS:
        faces = "crops"
    elif wanted == CROPS:
        faces = "photos with a detector"
    else:
        which = (
            "this detector" if calibration.faces == wanted else "another detector or --min-score"
        )
        faces = f"photos with {which}"
    return f"{faces}, {'with' if calibration.flip else 'without'} --flip"
