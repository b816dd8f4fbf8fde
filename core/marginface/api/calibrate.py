"""`marginface.calibrate`: thresholds for false accept rates, kept with the model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from marginface.api.claims import claimed_file
from marginface.api.models import Model, open_model, providers
from marginface.api.progress import image_progress
from marginface.api.verifying import embed_sets, open_sets
from marginface.calling import public
from marginface.cards.hub import is_address
from marginface.checks import as_path
from marginface.data.names import image_path
from marginface.data.verification.leaving_out import left_out_line, only
from marginface.data.verification.pairs import Pairs, check_kinds, people_of
from marginface.embeddings.embedder import Embedder
from marginface.embeddings.origin import CROPS
from marginface.errors import MarginfaceError
from marginface.evaluation.calibration import check_fars, thresholds
from marginface.evaluation.evaluate import distinct_images, score_pairs
from marginface.evaluation.verification import FAR_TARGETS
from marginface.formats import is_onnx
from marginface.model import PREPROCESSING_KEY, THRESHOLDS_KEY, Resize
from marginface.outputs import adding, check_file
from marginface.runs.folder import RunFolder, write_text
from marginface.serving.faces import Face, largest
from marginface.serving.recogniser import Outcome, Recogniser
from marginface.serving.thresholds import (
    Calibration,
    added,
    read_calibrations,
    to_text,
)
from marginface.tables.calibration import calibration_table
from marginface.tables.showing import as_html, as_text
from marginface.terminal import Terminal

SPREAD = 1e-6  # of the cosines of a model that gives the same to all
Rates = float | str | Sequence[float | str]


@dataclass(frozen=True, repr=False)
class CalibrationResult:
    """What `calibrate` found; shows itself as the command does.

    Args:
        calibration: the thresholds, and the way of use that they are for.
        written: the file that they are kept in.
        dropped: how many earlier calibrations were of another model or preprocessing, and went.
    """

    calibration: Calibration
    written: Path
    dropped: int = 0

    def table(self) -> Table:
        """Build the table of the thresholds."""
        return calibration_table(self.calibration)

    def __repr__(self) -> str:
        return as_text(self.table())

    def _repr_html_(self) -> str:
        return as_html(self.table())


@public
def calibrate(
    model: str | Path,
    *,
    val: str | Path | None = None,
    pairs: str | Path | None = None,
    images: str | Path | None = None,
    far: Rates = FAR_TARGETS,
    output: str | Path | None = None,
    detector: str | Path | None = None,
    min_score: float = 0.5,
    backend: str = "onnx",
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: str | Sequence[int] | None = None,
    output_name: str | None = None,
    checkpoint: str | int | None = None,
    batch_size: int = 64,
    flip: bool = True,
    resize: Resize = False,
    skip_bad: bool = False,
    overwrite: bool = False,
    provider: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> CalibrationResult:
    """Measure the threshold for each false accept rate on pairs, and keep it with the model.

    Args:
        model: a run folder, a model folder or an ONNX file.
        val: a verification set: .bin, container, CFP's Split/FP or FF.
        pairs: a list of pairs of `images`, such as LFW's.
        images: the aligned face images that the list names: a folder, .rec or .tfrecord; with a
            detector, a folder of photos.
        far: false accept rates, one or several. One that needs more different pairs than there are
            is kept as one that the list does not support.
        output: the .onnx file to write; of a folder, thresholds.json in it for None.
        detector: finds the faces, if the images are photos: SCRFD or YuNet as ONNX.
        min_score: of photos: what the detector scores less is no face.
        backend: what runs the network: "onnx", or for a run "torch" or "tf".
        mean: subtracted from pixels (0..255), one number or three; the model's own for None.
        std: divides pixels after the mean; the model's own for None.
        channels: channel order of the network, "rgb" or "bgr"; the model's own for None.
        crop: (top, left, height, width) in pixels that is cut out of each image.
        output_name: output of an ONNX file that is the embedding; by its shape for None.
        checkpoint: of a run: "best" (of `keep_best`), "last" or a step; the last for None.
        batch_size: images in one batch.
        flip: sum the embeddings of an image and of its mirror image. The thresholds are for that.
        resize: scale images of another size instead of refusing them: True as in training, else
            "fit", "letterbox" or "squeeze".
        skip_bad: leave out pairs with missing or broken images, or photos without a face.
        overwrite: replace an existing `output`.
        provider: what ONNX Runtime computes on: "auto", "cpu", "cuda" or another that it has.
        device: what a framework computes on, if it is the backend: "auto", "cpu", "cuda"...
        threads: CPU threads; all for None.

    Raises:
        MarginfaceError: the model, the pairs or the output cannot be used.
    """
    source = as_path("model", model)
    fars = check_fars(far if isinstance(far, (list, tuple)) else [far])
    given = [] if val is None else [as_path("val", val)]
    listed, shown, target = (
        None if path is None else as_path(name, path)
        for name, path in (("pairs", pairs), ("images", images), ("output", output))
    )
    found_by = None if detector is None else as_path("detector", detector)
    if found_by is None and min_score != 0.5:
        raise MarginfaceError("--min-score goes with --detector, which finds faces in photos")
    if is_address(source):
        raise MarginfaceError(
            "thresholds are kept in the model, and a hub's stays as it is; export it first "
            "(marginface export --output MODEL.onnx) and calibrate that"
        )
    is_folder = source.is_dir()
    if is_folder and target is not None:
        raise MarginfaceError(
            f"--output goes with an ONNX file; the thresholds of a folder are kept in "
            f"{RunFolder(source).thresholds}: leave it out, or export the model first"
        )
    if not is_folder:
        if target is None:
            raise MarginfaceError(
                "give the file to write as --output MODEL.onnx: thresholds are kept in the model"
            )
        from marginface.onnx.export import check_path

        check_path(target)
    opening: dict[str, Any] = {"mean": mean, "std": std, "channels": channels, "crop": crop}
    if is_folder and any(value is not None for value in opening.values()):
        raise MarginfaceError("--mean, --std, --channels and --crop go with an ONNX file")
    inputs = [source, *given, listed, shown, found_by]
    with _claimed(source, target, overwrite=overwrite, inputs=inputs):
        sets = open_sets(given, listed, shown, skip_bad=skip_bad)
        if len(sets) > 1:
            raise MarginfaceError(f"calibrate takes one set of pairs, got {len(sets)}")
        opening |= {"backend": backend, "threads": threads, "output_name": output_name}
        of_model, of_detector = providers(provider, source, backend, found_by)
        opening |= {"checkpoint": checkpoint, "provider": of_model, "device": device}
        embedder = open_model(source, **opening).embedder
        embedder.check_flip(flip)
        if found_by is None:
            faces = CROPS
            [(tested, embeddings, _)] = embed_sets(
                [source.name], [embedder], sets, batch_size=batch_size, flip=flip, resize=resize
            )
        else:
            recogniser = Recogniser(
                Model(source, embedder),
                found_by,
                flip=flip,
                min_score=min_score,
                provider=of_detector,
                threads=threads,
            )
            faces, [tested] = recogniser.faces_origin, sets
            tested, embeddings = _embed_photos(recogniser, tested, skip_bad=skip_bad)
        scores = score_pairs(tested, embeddings).scores
        _refuse_collapsed(scores, embedder)
        new = Calibration(
            fingerprint=embedder.fingerprint,
            flip=flip,
            faces=faces,
            pairs=tested.name,
            same_pairs=int(np.sum(tested.same)),
            different_pairs=int(np.sum(~tested.same)),
            thresholds=thresholds(scores, tested.same, fars, people_of(tested)),
        )
        before = read_calibrations(source)
        kept = [each for each in before if each.fingerprint == embedder.fingerprint]
        text = to_text(added(kept, new))
        if target is None:
            target = RunFolder(source).thresholds
            with adding(source):
                write_text(target, text + "\n")
        else:
            _write(source, target, text, embedder)
    return CalibrationResult(new, target, len(before) - len(kept))


@contextmanager
def _claimed(
    source: Path, target: Path | None, *, overwrite: bool, inputs: list[Path | None]
) -> Iterator[None]:
    """Claim the output and its data, which may be the model itself where it is to be replaced."""
    if target is None:
        yield
        return
    from marginface.onnx.files import data_beside, data_files

    others = [each for each in inputs if each != source]
    with claimed_file(target, overwrite=overwrite, inputs=others):
        if target != source and is_onnx(source):
            others += data_files(source)
        check_file(data_beside(target), overwrite=overwrite, inputs=others)
        yield


def _refuse_collapsed(scores: NDArray[np.float64], embedder: Embedder) -> None:
    """Raise if a model gives all pairs one score."""
    if np.ptp(scores) > SPREAD:
        return
    pre = embedder.preprocessing
    raise MarginfaceError(
        f"all {len(scores):,} pairs score {scores[0]:.6f}, to {SPREAD:g}: the model tells nobody "
        f"apart, so that no threshold means anything; see that images enter it as in training "
        f"(here --mean {pre.mean[0]:g}, --std {pre.std[0]:g}), or train it again"
    )


def _write(source: Path, target: Path, text: str, embedder: Embedder) -> None:
    from marginface.onnx.metadata import write_with_metadata

    preprocessing = json.dumps(embedder.preprocessing.to_json())
    write_with_metadata(source, target, {THRESHOLDS_KEY: text, PREPROCESSING_KEY: preprocessing})


def _embed_photos(
    recogniser: Recogniser, pairs: Pairs, *, skip_bad: bool
) -> tuple[Pairs, NDArray[np.float32]]:
    """Return the pairs whose photos both show a face, and the embeddings of their largest ones."""
    names = distinct_images(pairs)
    named = [(name, image_path(pairs.images.root, name)) for name in names]
    embeddings: dict[str, NDArray[np.float32]] = {}
    with image_progress("Embedding") as on_progress, closing(recogniser.attempts(named)) as tried:
        for at, (name, outcome) in enumerate(zip(names, tried, strict=True)):
            on_progress(at + 1, len(names))
            try:
                embeddings[name] = _largest(name, outcome).embedding
            except MarginfaceError as error:
                if not skip_bad:
                    error.args = (f"{error}; leave out its pairs with --skip-bad",)
                    raise
    both = [
        {first, second} <= embeddings.keys()
        for first, second in zip(pairs.first, pairs.second, strict=True)
    ]
    if not all(both):
        pairs = only(pairs, np.array(both))
        Terminal(stderr=True, soft_wrap=True).print(left_out_line(pairs))
    check_kinds(pairs.same, f"{pairs.name}: ")
    return pairs, np.stack([embeddings[name] for name in distinct_images(pairs)])


def _largest(name: str, outcome: Outcome) -> Face:
    """Return the largest face of a photo that has an embedding."""
    if isinstance(outcome, MarginfaceError):
        raise outcome
    usable = [face for face in outcome if not face.problem]
    if not usable:
        raise MarginfaceError(f"{name}: {outcome[0].problem if outcome else 'no face'}")
    return usable[largest(usable)]
