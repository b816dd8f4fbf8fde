"""The source of a figure: model, preprocessing and set of pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from marginface.data.verification.pairs import Pairs
from marginface.embeddings.origin import SHORT_HASH, Origin
from marginface.evaluation.qmagface import QMagFace
from marginface.version import __version__

KEY = "marginface.measured_with"  # of Parquet's metadata
MIRROR = {True: "summed (--flip)", False: "left out (--no-flip)"}
THRESHOLDS = {
    True: "Thresholds hold for embeddings summed with the mirror image's, as of embed --flip.",
    False: "Thresholds hold for embeddings of the image alone, as of embed without --flip.",
}


@dataclass(frozen=True)
class MeasuredWith:
    """A model and a set of pairs, as recorded in every file with figures.

    Args:
        model: the model's label.
        origin: its fingerprint and preprocessing.
        set: the set's name.
        set_fingerprint: see `set_fingerprint`.
        pairs: number of pairs in the set.
        left_out: how many more were left out of each of its folds; () for none.
        score: of a pair; None for the cosine.
    """

    model: str
    origin: Origin
    set: str
    set_fingerprint: str
    pairs: int
    left_out: tuple[int, ...] = ()
    score: QMagFace | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; those of the origin have the keys that embeddings files have."""
        return {
            **self.origin.to_json(),
            "marginface": __version__,
            "model": self.model,
            "set": self.set,
            "set_fingerprint": self.set_fingerprint,
            "pairs": self.pairs,
            **({"left_out": list(self.left_out)} if self.left_out else {}),
            **({} if self.score is None else {"score": self.score.to_json()}),
        }

    def summary(self) -> str:
        """Return a line to read: model, preprocessing and meaning of thresholds."""
        origin = self.origin
        height, width = origin.input_size
        how = "" if isinstance(origin.resize, bool) else f" {origin.resize}"
        parts = [
            f"model {origin.fingerprint[:SHORT_HASH]}",
            f"{height}x{width} {origin.channels.upper()}",
            "mean and std built in"
            if origin.mean is None or origin.std is None
            else f"mean {_numbers(origin.mean)}, std {_numbers(origin.std)}",
            *([] if origin.crop is None else [f"crop {_numbers(origin.crop)}"]),
            *([f"scaled (--resize{how})"] if origin.resize else []),
            origin.backend,
            f"mirror image {MIRROR[origin.flip]}",
        ]
        return f"{'; '.join(parts)}. {THRESHOLDS[origin.flip]}"

    def columns(self) -> dict[str, str]:
        """Return the columns of a CSV row, as text, without the names of model and set.

        Lists and flags are as in JSON, None is empty.
        """
        values = self.to_json()
        for name in ("version", "model", "set"):
            del values[name]
        return {name: _cell(value) for name, value in values.items()}


def columns_of(known: MeasuredWith | None) -> dict[str, str]:
    """Return `MeasuredWith.columns`, or nothing where it is not known."""
    return {} if known is None else known.columns()


def set_fingerprint(pairs: Pairs) -> str:
    """Return a SHA-256 of a set's images as they are encoded, flags and folds, in their order.

    Names do not count: a list with its folder, and the .bin or .zip made of it, have one.
    """
    seen: dict[str, bytes] = {}
    digest = hashlib.sha256()
    rows = zip(pairs.first, pairs.second, pairs.same.tolist(), pairs.fold.tolist(), strict=True)
    for first, second, same, fold in rows:
        for name in (first, second):
            if name not in seen:
                seen[name] = hashlib.sha256(pairs.images.encoded(name)).digest()
            digest.update(seen[name])
        digest.update(f"{same:d} {fold:d};".encode())
    return digest.hexdigest()


def shared_pairs(one: Pairs, other: Pairs) -> int:
    """Count the pairs of `other` whose two images, as they are encoded, are a pair of `one`."""
    known = set(_pair_digests(one))
    return sum(pair in known for pair in _pair_digests(other))


def _pair_digests(pairs: Pairs) -> list[frozenset[bytes]]:
    digest = {
        name: hashlib.sha256(pairs.images.encoded(name)).digest()
        for name in {*pairs.first, *pairs.second}
    }
    both = zip(pairs.first, pairs.second, strict=True)
    return [frozenset((digest[first], digest[second])) for first, second in both]


def _numbers(values: Sequence[float]) -> str:
    """Return numbers as options take them: one where all are alike.

    >>> _numbers((127.5, 127.5, 127.5)), _numbers((0, 8, 112, 96))
    ('127.5', '0,8,112,96')
    """
    return ",".join(f"{value:g}" for value in (values[:1] if len(set(values)) == 1 else values))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
