"""Verification pairs in memory, and what reading a set of them says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from marginface.data.verification.folds import contiguous_folds
from marginface.data.verification.opening import open_verification
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError


@dataclass(frozen=True)
class Memory:
    """An `ImageSource` of bytes."""

    images: dict[str, bytes]
    root: Path = Path("memory")

    def encoded(self, name: str) -> bytes:
        if name not in self.images:
            raise MarginfaceError(f"no image {name}")
        return self.images[name]


def pairs_of(number: int = 6, folds: int = 3) -> Pairs:
    images = {f"p{at}/é {at}.jpg": f"image {at}".encode() for at in range(number + 1)}
    names = list(images)
    same = np.arange(number) % 2 == 0
    fold = contiguous_folds(number, folds)
    return Pairs(Memory(images), tuple(names[:-1]), tuple(names[1:]), same, fold, "some")


def content(pairs: Pairs) -> list[tuple[bytes, bytes, bool]]:
    images = pairs.images
    return [
        (images.encoded(first), images.encoded(second), same)
        for first, second, same in zip(pairs.first, pairs.second, pairs.same.tolist(), strict=True)
    ]


def refusal(path: Path, images: Path | None = None) -> str:
    with pytest.raises(MarginfaceError) as caught:
        open_verification(path, images)
    assert "\n" not in str(caught.value)
    return str(caught.value)
