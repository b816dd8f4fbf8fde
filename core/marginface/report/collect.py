"""What a report shows: models, verification sets, and every model's scores on every set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.data.pairs import Pairs
from marginface.errors import MarginfaceError
from marginface.evaluation.evaluate import Embed, OnProgress, distinct_images, embed_images
from marginface.evaluation.image_batches import ImageReader
from marginface.evaluation.verification import VerificationResult, pair_scores, verify
from marginface.training.run import RunFolder
from marginface.training.trackers import read_metrics


@dataclass(frozen=True)
class ReportModel:
    """A model under the name that the report gives it.

    Args:
        name: short, and of no other model here.
        metrics: the lines of its run's metrics.jsonl; none for an ONNX file.
    """

    name: str
    metrics: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class ReportSet:
    """A verification set under the name that the report gives it."""

    name: str
    pairs: Pairs


@dataclass(frozen=True, eq=False)
class Measured:
    """A model on a set: the result, and of each pair its score and its embeddings' lengths.

    Args:
        result: what `verify` measured.
        scores, first_norm, second_norm: [pairs].
    """

    result: VerificationResult
    scores: NDArray[np.float64]
    first_norm: NDArray[np.float64]
    second_norm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Report:
    """Models, sets, and `measured[model][set]`."""

    models: tuple[ReportModel, ...]
    sets: tuple[ReportSet, ...]
    measured: tuple[tuple[Measured, ...], ...]


def read_training(model: Path) -> tuple[dict[str, Any], ...]:
    """Return the lines of metrics.jsonl of a run, or of a checkpoint's run; none for a file."""
    run = model.parents[1] if model.parent.name == "checkpoints" else model
    return tuple(read_metrics(RunFolder(run).metrics)) if model.is_dir() else ()


def short_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return a name for each path: its last part, and as many folders as tell it from the others.

    Raises:
        MarginfaceError: a path is given twice.

    >>> short_names([Path("runs/a/best.onnx"), Path("runs/b/best.onnx"), Path("runs/c")])
    ('a/best.onnx', 'b/best.onnx', 'c')
    """
    full = [path.absolute() for path in paths]
    for path, count in Counter(full).items():
        if count > 1:
            raise MarginfaceError(f"{path} is given {count} times; give it once")

    def name(path: Path) -> str:
        endings = ("/".join(path.parts[-depth:]) for depth in range(1, len(path.parts) + 1))
        others = [other.as_posix() for other in full if other != path]
        return next(
            ending
            for ending in endings
            if not any(other == ending or other.endswith(f"/{ending}") for other in others)
        )

    return tuple(name(path) for path in full)


def measure(
    embed: Embed,
    pairs: Pairs,
    *,
    batch_size: int,
    flip: bool,
    size: tuple[int, int] | None,
    resize: bool,
    on_progress: OnProgress,
) -> Measured:
    """Embed the images of a set and verify its pairs; arguments as of `evaluate_pairs`."""
    norms: dict[str, float] = {}
    names = distinct_images(pairs)
    parts = []
    for batch, images in ImageReader(pairs.images, size, resize=resize).batches(names, batch_size):
        parts.append(embed_images(embed, images, flip=flip))
        norms.update(zip(batch, np.linalg.norm(parts[-1], axis=1), strict=True))
        on_progress(len(norms), len(names))
    index = {name: at for at, name in enumerate(names)}
    first, second = ([index[name] for name in side] for side in (pairs.first, pairs.second))
    scores = pair_scores(np.concatenate(parts), first, second)
    lengths = np.array([norms[name] for name in names], np.float64)
    result = verify(scores, pairs.same, pairs.folds)
    return Measured(result, scores, lengths[first], lengths[second])
