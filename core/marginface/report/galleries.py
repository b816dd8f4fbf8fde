"""The pairs that a model gets most wrong, and small pictures of them."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.data.images import decode_image
from marginface.data.names import image_path
from marginface.data.sources import ImageSource
from marginface.evaluation.comparison import Comparison
from marginface.report.collect import identities
from marginface.text import printable

SHOWN = 12  # of each kind
SIDE = 112  # pixels of a picture's longer side


def hardest_pairs(row: Comparison) -> dict[str, list[dict[str, Any]]]:
    """Return the different pairs with the highest scores and the same pairs with the lowest.

    They are the first false accepts and false rejects at any threshold.
    """
    scores, same = row.pair_scores.scores, row.pairs.same
    people = identities(row.pairs) or {}
    return {
        kind: [_described(row, index, people) for index in _first(order, chosen)]
        for kind, order, chosen in (("accepts", -scores, ~same), ("rejects", scores, same))
    }


def _first(order: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    indices = np.flatnonzero(chosen)
    return indices[np.argsort(order[indices], kind="stable")[:SHOWN]]


def _described(row: Comparison, index: np.intp, people: dict[str, str]) -> dict[str, Any]:
    pair_scores, names = row.pair_scores, [row.pairs.first[index], row.pairs.second[index]]
    return {
        "score": float(pair_scores.scores[index]),
        "names": names,
        "shown": [printable(name) for name in names],
        "identities": [printable(people.get(name, "")) for name in names],
        "norms": [float(pair_scores.first_norm[index]), float(pair_scores.second_norm[index])],
    }


def thumbnail(images: ImageSource, name: str) -> str:
    """Return an image as the address of a small JPEG that the page can hold in itself.

    Raises:
        MarginfaceError: the image cannot be read.
    """
    pixels = decode_image(images.encoded(name), image_path(images.root, name), None)
    picture, buffer = Image.fromarray(pixels), BytesIO()
    picture.thumbnail((SIDE, SIDE))
    picture.save(buffer, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
