"""Templates, IJB-B's and IJB-C's unit of comparison: pool images into them, score pairs of them.

A template holds images of one person from one or several media (photographs, videos):

    f_t = sum over media m of t of (mean over images i of m in t of w_i x_i),    f_t / |f_t|

with x_i an image's embedding as the model gives it, its norm kept, and w_i a detector's score of the
image. So the sum over a template's images of w_i x_i / (images of its medium in the template), which
needs one pass over the embeddings in any order and memory for the templates alone.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.evaluation.template_files import Ids, TemplateMedia, TemplatePairs
from marginface.evaluation.verification import directionless, unit_embeddings, unit_scores

Batches = Iterable[tuple[Sequence[str], NDArray[np.floating[Any]]]]


@dataclass(frozen=True, eq=False)
class Templates:
    """Pooled templates.

    Attributes:
        ids: int64 [templates], growing.
        unit: float64 [templates, size], of length 1.
        quality: float32 [templates], the mean norm of the images' embeddings, each medium once.
    """

    ids: Ids
    unit: NDArray[np.float64]
    quality: NDArray[np.float32]

    def rows(self, ids: Ids, where: str) -> NDArray[np.int64]:
        """Return the row of each template id.

        Raises:
            MarginfaceError: an id that no template has; `where` says who names it.
        """
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        unknown = np.flatnonzero(self.ids[rows] != ids)
        if len(unknown):
            raise MarginfaceError(
                f"{where} names template {ids[unknown[0]]}, which no image belongs to by the list "
                "of media; do both files belong to the same benchmark?"
            )
        return rows


@dataclass(frozen=True, eq=False)
class PairScores:
    """Scores of template pairs in the order of their file, [pairs].

    Attributes:
        score: float64, cosine.
        same: bool.
        quality: float32, the lower of the two templates'.
    """

    score: NDArray[np.float64]
    same: NDArray[np.bool_]
    quality: NDArray[np.float32]


def pool(media: TemplateMedia, embeddings: Batches, weights: Mapping[str, float] | None) -> Templates:
    """Return the templates of images whose embeddings come in batches, in any order.

    Sums are float64 and run in the order of the images, so batches of another size give the same
    bits.

    Args:
        media: which images make which template.
        embeddings: names of images and their embeddings [batch, size]; others are passed over.
        weights: a detector's score for each image; all weigh the same without.

    Raises:
        MarginfaceError: an image without an embedding, with two or with a broken one, without a
            weight; a template that adds up to nothing.
    """
    ids, template = np.unique(media.template, return_inverse=True)
    share = _shares(media)
    weight = share if weights is None else share * _weights(media, weights)
    per_template = np.bincount(template, share)  # the number of its media
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(media.names):
        rows_of.setdefault(name, []).append(row)
    sums: NDArray[np.float64] | None = None
    quality = np.zeros(len(ids))
    for names, values in embeddings:
        if sums is None:
            sums = np.zeros((len(ids), values.shape[1]))
        norms = np.linalg.norm(values.astype(np.float64), axis=1)
        for at, name in enumerate(names):
            rows = rows_of.get(name)
            if rows is None:
                continue
            if not rows:
                raise MarginfaceError(f"image {name} has two embeddings; give one for each image")
            if not 0 < norms[at] < np.inf:
                raise MarginfaceError(
                    f"the embedding of image {name} is of length zero, NaN or infinite; embed it "
                    "again, or leave it out of the list of media"
                )
            for row in rows:
                sums[template[row]] += weight[row] * values[at]
                quality[template[row]] += share[row] * norms[at]
            rows_of[name] = []  # done
    missing = [name for name, rows in rows_of.items() if rows]
    if missing or sums is None:
        raise MarginfaceError(
            f"{len(missing):,} of {len(rows_of):,} images in {media.path} have no embedding, first "
            f"{missing[0]}; embed the folder that they are relative to"
        )
    empty = directionless(sums)
    if len(empty):
        raise MarginfaceError(
            f"template {ids[empty[0]]} adds up to length zero; are all of its scores zero?"
        )
    return Templates(ids, unit_embeddings(sums), (quality / per_template).astype(np.float32))


def _shares(media: TemplateMedia) -> NDArray[np.float64]:
    """Return 1 / (images of the same medium in the same template) for each row."""
    both = np.stack([media.template, media.medium], 1)
    _, group, size = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(1 / size[group])


def _weights(media: TemplateMedia, weights: Mapping[str, float]) -> NDArray[np.float64]:
    missing = [name for name in media.names if name not in weights]
    if missing:
        raise MarginfaceError(
            f"{len(missing):,} of {len(media.names):,} images in {media.path} have no detector "
            f"score, first {missing[0]}"
        )
    return np.array([weights[name] for name in media.names])


def score_pairs(templates: Templates, blocks: Iterable[TemplatePairs], where: str) -> PairScores:
    """Return the cosine of each pair, block by block on all processors.

    Every cosine is a sum of its own in float64, so blocks change nothing and equal templates tie.
    Memory: 13 bytes a pair, twice while blocks are joined.

    Args:
        templates: what the pairs name.
        blocks: the pairs.
        where: their file, for messages.

    Raises:
        MarginfaceError: a template that is not there, or no pair at all.
    """

    def score(pairs: TemplatePairs) -> PairScores:
        first, second = templates.rows(pairs.first, where), templates.rows(pairs.second, where)
        quality = np.minimum(templates.quality[first], templates.quality[second])
        return PairScores(unit_scores(templates.unit, first, second), pairs.same, quality)

    found = list(_ahead(score, blocks))
    if not sum(len(each.score) for each in found):
        raise MarginfaceError(f"{where} holds no pairs")
    return PairScores(
        np.concatenate([each.score for each in found]),
        np.concatenate([each.same for each in found]),
        np.concatenate([each.quality for each in found]),
    )


def _ahead(work: Any, items: Iterable[Any]) -> Iterator[Any]:
    """Yield work(item) in order, done in threads that are but a few items ahead."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Any]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
