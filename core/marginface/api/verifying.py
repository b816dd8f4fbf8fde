"""Embed the images of verification sets with models, for `evaluate` and `report`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.api.progress import image_progress
from marginface.data.verification.leaving_out import left_out_line
from marginface.data.verification.opening import open_all
from marginface.data.verification.pairs import Pairs
from marginface.embeddings.embed import NormRange
from marginface.embeddings.embedder import Embedder
from marginface.embeddings.origin import Origin
from marginface.errors import MarginfaceError
from marginface.evaluation.evaluate import check_images, embed_pairs
from marginface.evaluation.measured_with import MeasuredWith, set_fingerprint
from marginface.evaluation.verification import require_folds
from marginface.model import Resize
from marginface.terminal import Terminal


def open_sets(
    val: list[Path] | None, pairs: Path | None, images: Path | None, *, skip_bad: bool
) -> list[Pairs]:
    """Open the sets that --val, --pairs and --images name, and say what is left out of them.

    Raises:
        MarginfaceError: as `open_all`.
    """
    if not val and pairs is None:
        raise MarginfaceError(
            "there is nothing to verify; give --val lfw.bin, or --pairs pairs.txt and --images"
        )
    sets = open_all(val or [], pairs, images, skip_bad=skip_bad)
    for line in filter(None, map(left_out_line, sets)):
        Terminal(stderr=True, soft_wrap=True).print(line)
    for each in sets:
        require_folds(each.name, each.fold)
    return sets


def embed_sets(
    labels: Sequence[str],
    embedders: Sequence[Embedder],
    sets: Sequence[Pairs],
    *,
    batch_size: int,
    flip: bool,
    resize: Resize,
) -> Iterator[tuple[Pairs, NDArray[np.float32], MeasuredWith]]:
    """Yield each set with its embeddings by each model in turn; sizes are checked before all.

    The embeddings are [images, size], of `distinct_images(pairs)`.

    Raises:
        MarginfaceError: as `check_images` and `embed_pairs`.
    """
    models = list(zip(labels, embedders, strict=True))
    sizes = {}
    for label, embedder in models:
        embedder.check_flip(flip)
        for pairs in sets:
            expected_size = embedder.image_size(resize=resize)
            sizes[label, pairs.name] = size = check_images(pairs, size=expected_size, resize=resize)
            embedder.check_size(*size)
    fingerprints = {pairs.name: set_fingerprint(pairs) for pairs in sets}
    for label, embedder in models:
        for pairs in sets:
            noted = NormRange(embedder)
            with image_progress(f"{label}, {pairs.name}") as on_progress:
                embeddings = embed_pairs(
                    noted,
                    pairs,
                    batch_size=batch_size,
                    flip=flip,
                    size=sizes[label, pairs.name],
                    resize=embedder.resizing(resize),
                    on_progress=on_progress,
                )
            origin = Origin.of(embedder, flip=flip, resize=resize, norms=noted.norms)
            measured_with = MeasuredWith(
                label, origin, pairs.name, fingerprints[pairs.name], len(pairs), pairs.left_out
            )
            yield pairs, embeddings, measured_with
