"""Templates, IJB-B's and IJB-C's unit of comparison: pooled from images.

A template holds images of one person from one or several media (photographs, videos):

    f_t = sum over media m of t of (mean over images i of m in t of w_i x_i),    f_t / |f_t|

with x_i an image's embedding as the model gives it, its norm kept, and w_i a detector's score of
the image. That is a sum over the template's images of w_i x_i / (images of the same medium), so one
pass over the embeddings in any order does, with memory for the templates alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.evaluation.template_files import Ids, TemplateMedia
from marginface.vectors import directionless, unit_embeddings

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
            MarginfaceError: an id that no template has; `where` tells the file that names it.
        """
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        unknown = np.flatnonzero(self.ids[rows] != ids)
        if len(unknown):
            raise MarginfaceError(
                f"{where} names template {ids[unknown[0]]}, which no image belongs to by the list "
                "of media; do both files belong to the same benchmark?"
            )
        return rows


def pool(
    media: TemplateMedia, embeddings: Batches, weights: Mapping[str, float] | None
) -> Templates:
    """Return the templates of images whose embeddings come in batches, in any order.

    Sums are float64 and run in the order of the images, so batches of another size give the same
    bits.

    Args:
        media: the images of each template.
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
            f"{missing[0]}; embed the folder that they are relative to; crops of "
            "every image come from `marginface data align --all`"
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
