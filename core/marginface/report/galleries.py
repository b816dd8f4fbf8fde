"""The pairs that a model gets most wrong, and small pictures of them."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.data.images import decode_image
from marginface.data.pairs import Pairs
from marginface.data.sources import ImageSource
from marginface.report.collect import Measured

SHOWN = 12  # of each kind
SIDE = 112  # pixels of a picture's longer side


def hardest_pairs(measured: Measured, pairs: Pairs) -> dict[str, list[dict[str, Any]]]:
    """Return the different pairs with the highest scores and the same pairs with the lowest.

    They are the first false accepts and false rejects at any threshold.
    """
    return {
        "accepts": _described(measured, pairs, _first(-measured.scores, ~pairs.same)),
        "rejects": _described(measured, pairs, _first(measured.scores, pairs.same)),
    }


def _first(order: NDArray[np.float64], kind: NDArray[np.bool_]) -> NDArray[np.intp]:
    chosen = np.flatnonzero(kind)
    return chosen[np.argsort(order[chosen], kind="stable")[:SHOWN]]


def _described(
    measured: Measured, pairs: Pairs, indices: NDArray[np.intp]
) -> list[dict[str, Any]]:
    return [
        {
            "score": float(measured.scores[index]),
            "names": [pairs.first[index], pairs.second[index]],
            "identities": [identity_of(pairs.first[index]), identity_of(pairs.second[index])],
            "norms": [float(measured.first_norm[index]), float(measured.second_norm[index])],
        }
        for index in indices
    ]


def identity_of(name: str) -> str | None:
    """Return the folder that an image's name begins with; None where it has none.

    >>> identity_of("Ada/Ada_0001.jpg"), identity_of("0001.jpg")
    ('Ada', None)
    """
    return name.rpartition("/")[0] or None


def thumbnail(images: ImageSource, name: str) -> str:
    """Return an image as the address of a small JPEG that the page can hold in itself.

    Raises:
        MarginfaceError: the image cannot be read.
    """
    pixels = decode_image(images.encoded(name), images.root / name, None)
    picture, buffer = Image.fromarray(pixels), BytesIO()
    picture.thumbnail((SIDE, SIDE))
    picture.save(buffer, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
