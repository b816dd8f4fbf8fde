"""`marginface.compare`: do two photos show one person?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marginface.api.models import Model, open_model, providers
from marginface.calling import public
from marginface.checks import as_path
from marginface.serving.comparing import Comparer, FaceComparison
from marginface.serving.recogniser import Detector, Recogniser
from marginface.serving.sides import MAX_BLUR, MIN_FACE, Chosen, Limits
from marginface.serving.thresholds import find_calibration, read_calibrations


@public
def compare(
    first: Any,
    second: Any,
    *,
    model: str | Path | Model,
    detector: str | Path | Detector | None = None,
    far: float | None = None,
    face: Chosen = None,
    flip: bool | None = None,
    min_score: float = 0.5,
    min_face: float = MIN_FACE,
    max_blur: float = MAX_BLUR,
    backend: str = "onnx",
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: str | Sequence[int] | None = None,
    output_name: str | None = None,
    checkpoint: str | int | None = None,
    provider: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> FaceComparison:
    """Compare the faces of two photos; `comparer` opens the model once for many.

    Args:
        first, second: paths, arrays RGB uint8 [height, width, 3] or PIL images; without a detector
            aligned crops.
        model: a run folder or an ONNX file, calibrated to decide, or what `load` returned.
        detector: finds the faces: SCRFD or YuNet as ONNX, or a function as `Recogniser` takes it.
        far: the false accept rate to decide at, one that the model is calibrated for; a score
            alone for None.
        face: which one where a photo has several: "largest", or its number, from 0; a pair for the
            two photos. None gives no answer then.
        flip: sum the embeddings of a crop and of its mirror image; as calibrated for None.
        min_score: what the detector scores less is no face.
        min_face: pixels of the photo that a face's crop must span; a smaller one gives no answer.
        max_blur: most blur of a face, 0 to 1; a more blurred one gives no answer.
        backend: what runs the network: "onnx", or for a run "torch" or "tf".
        mean: subtracted from pixels (0..255), one number or three; the model's own for None.
        std: divides pixels after the mean; the model's own for None.
        channels: channel order of the network, "rgb" or "bgr"; the model's own for None.
        crop: (top, left, height, width) in pixels that is cut out of each image.
        output_name: output of an ONNX file that is the embedding; by its shape for None.
        checkpoint: of a run: "best" (of `keep_best`), "last" or a step; the last for None.
        provider: what ONNX Runtime computes on: "auto", "cpu", "cuda" or another that it has.
        device: what a framework computes on, if it is the backend: "auto", "cpu", "cuda"...
        threads: CPU threads; all for None.

    Raises:
        MarginfaceError: a photo, the model or the detector cannot be used, or the model is not
            calibrated for this use at this rate.
    """
    of_model, of_detector = providers(provider, model, backend, detector)
    opened = open_model(
        model,
        backend=backend,
        provider=of_model,
        device=device,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        output_name=output_name,
        checkpoint=checkpoint,
        threads=threads,
    )
    limits = Limits(min_face, max_blur)
    found_by = as_path("detector", detector) if isinstance(detector, (str, Path)) else detector
    return comparer(
        opened,
        found_by,
        far=far,
        flip=flip,
        min_score=min_score,
        limits=limits,
        provider=of_detector,
        threads=threads,
    )(first, second, face=face)


@public
def comparer(
    model: str | Path | Model,
    detector: str | Path | Detector | None = None,
    *,
    far: float | None = None,
    flip: bool | None = None,
    min_score: float = 0.5,
    limits: Limits | None = None,
    provider: str = "auto",
    threads: int | None = None,
) -> Comparer:
    """Return a function of two photos that compares them; arguments as of `compare`.

    Raises:
        MarginfaceError: as `compare`.
    """
    of_model, of_detector = providers(provider, model, "onnx", detector)
    opened = open_model(model, backend="onnx", provider=of_model)
    recogniser = Recogniser(
        opened,
        detector,
        flip=bool(flip),
        min_score=min_score,
        provider=of_detector,
        threads=threads,
    )
    calibration, notes = None, []
    if far is not None:
        calibration, note = find_calibration(
            read_calibrations(opened.path),
            opened.embedder,
            far=far,
            flip=flip,
            faces=recogniser.faces_origin,
        )
        recogniser.flip = calibration.flip
        notes = [note] * bool(note)
    opened.embedder.check_flip(recogniser.flip)
    return Comparer(recogniser, calibration=calibration, far=far, limits=limits, notes=notes)
