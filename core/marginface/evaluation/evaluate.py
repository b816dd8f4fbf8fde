"""From verification pairs to scores: embed each image once, then compare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marginface.data.image_batches import ImageReader
from marginface.data.images import decoded_size, wrong_size
from marginface.data.names import image_path
from marginface.data.sources import OnProgress, or_left_out, silent
from marginface.data.verification.pairs import Pairs
from marginface.embeddings.embed import Embed, embed_images
from marginface.errors import MarginfaceError
from marginface.model import Resize
from marginface.vectors import directionless, pair_scores


def distinct_images(pairs: Pairs) -> tuple[str, ...]:
    """Return every image that the pairs name, once, sorted."""
    return tuple(sorted({*pairs.first, *pairs.second}))


@dataclass(frozen=True)
class PairScores:
    """A model's scores and norms for pairs, all [pairs].

    Args:
        scores: the cosine, or another score that was asked for.
        first_norm: lengths of the first embeddings that are compared; with `flip`, of the sums of
            an image's and its mirror's.
        second_norm: of the second ones.
    """

    scores: NDArray[np.float64]
    first_norm: NDArray[np.float32]
    second_norm: NDArray[np.float32]


def embed_pairs(
    embed: Embed,
    pairs: Pairs,
    *,
    batch_size: int = 64,
    flip: bool = True,
    size: tuple[int, int] | None = (112, 112),
    resize: Resize = False,
    on_progress: OnProgress = silent,
) -> NDArray[np.float32]:
    """Return the embeddings [images, size] of `distinct_images(pairs)`.

    Args:
        embed: RGB images [batch, height, width, 3], uint8, to embeddings [batch, size].
        pairs: each distinct image is embedded once.
        batch_size: images for one call of `embed`.
        flip: sum the embeddings of an image and of its mirror image, the field's protocol.
        size: (height, width) that `embed` takes, or None: all must be like the first.
        resize: scale images of another size instead of refusing them.
        on_progress: called with (images done, images in all).

    Raises:
        MarginfaceError: an image is unreadable or of another size, or an embedding is broken.
    """
    paths = distinct_images(pairs)
    reader = ImageReader(pairs.images, size, resize=resize)
    parts: list[NDArray[np.float32]] = []
    done = 0
    for names, images in reader.batches(paths, batch_size):
        parts.append(embed_images(embed, images, flip=flip))
        done += len(names)
        on_progress(done, len(paths))
    embeddings = np.concatenate(parts)
    bad = directionless(embeddings)
    if len(bad):
        raise MarginfaceError(
            f"the model gives embeddings of length zero, NaN or infinite for {len(bad)} of "
            f"{len(paths)} images, first {paths[bad[0]]}; its weights or preprocessing are broken"
        )
    return embeddings


def score_pairs(pairs: Pairs, embeddings: NDArray[np.float32]) -> PairScores:
    """Return the scores of pairs for the embeddings [images, size] of `distinct_images(pairs)`."""
    index = {path: at for at, path in enumerate(distinct_images(pairs))}
    first = np.array([index[path] for path in pairs.first])
    second = np.array([index[path] for path in pairs.second])
    norms = np.linalg.norm(embeddings, axis=1).astype(np.float32)
    return PairScores(pair_scores(embeddings, first, second), norms[first], norms[second])


def check_images(pairs: Pairs, *, size: tuple[int, int] | None, resize: Resize) -> tuple[int, int]:
    """Read the header of every image, before a model is run on them; return their common size.

    Args:
        pairs: the pairs, which name the images.
        size: (height, width) that they must have, or None: all must be like the first.
        resize: whether images of another size will be scaled to `size`.

    Raises:
        MarginfaceError: an image is unreadable or of another size, or there is none.
    """
    common = size
    for name in distinct_images(pairs):
        where = image_path(pairs.images.root, name)
        try:
            actual = decoded_size(pairs.images.encoded(name), where)
        except MarginfaceError as error:
            raise or_left_out(error) from error
        common = common or actual
        if actual != common and not resize:
            why = "" if size else " as the first image is"
            raise wrong_size(where, actual, common, why)
    if common is None:
        raise MarginfaceError("there are no images to check")
    return common
