"""Leave out pairs whose images are missing or broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from marginface.data.images import decode_image
from marginface.data.ordered import in_order
from marginface.data.verification.pairs import MISSING, Pairs
from marginface.errors import MarginfaceError


def without_bad(pairs: Pairs) -> Pairs:
    """Return the pairs with two images that can be decoded; `left_out` counts the rest by fold.

    The others keep their folds; a fold without a pair goes.

    Raises:
        MarginfaceError: no pair is left.
    """
    names = sorted({*pairs.first, *pairs.second})
    good = dict(zip(names, in_order(partial(_decodes, pairs), names), strict=True))
    kept = np.array([good[a] and good[b] for a, b in zip(pairs.first, pairs.second, strict=True)])
    if kept.all():
        return pairs
    if not kept.any():
        raise MarginfaceError(
            f"none of the {len(pairs):,} pairs has two images in {pairs.images.root} that can be "
            "read; name the images that the list's names are relative to"
        )
    return only(pairs, kept)


def only(pairs: Pairs, kept: NDArray[np.bool_]) -> Pairs:
    """Return some of the pairs, `kept` [pairs]; `left_out` counts the rest by fold."""
    chosen = np.flatnonzero(kept).tolist()
    return replace(
        pairs,
        first=tuple(pairs.first[at] for at in chosen),
        second=tuple(pairs.second[at] for at in chosen),
        same=pairs.same[kept],
        fold=np.unique(pairs.fold[kept], return_inverse=True)[1].astype(np.int64),
        left_out=tuple(np.bincount(pairs.fold[~kept], minlength=pairs.folds).tolist()),
    )


def left_out_line(pairs: Pairs) -> str:
    """Say how many pairs were left out, in all and of each fold; "" for none."""
    if not any(pairs.left_out):
        return ""
    total = sum(pairs.left_out)
    return (
        f"{pairs.name}: left out {total:,} of {len(pairs) + total:,} pairs with missing or broken "
        f"images: {by_fold(pairs.left_out)}"
    )


def by_fold(left_out: Sequence[int]) -> str:
    """List how many pairs each fold has lost.

    >>> by_fold((2, 0, 1))
    '2 of fold 1, 1 of fold 3'
    """
    return ", ".join(f"{n:,} of fold {fold}" for fold, n in enumerate(left_out, 1) if n)


def _decodes(pairs: Pairs, name: str) -> bool:
    if name == MISSING:
        return False
    try:
        decode_image(pairs.images.encoded(name), name, None)
    except MarginfaceError:
        return False
    return True
