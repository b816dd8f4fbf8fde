"""The origin of a file's embeddings, kept in it so that those of two models never mix."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from marginface.embeddings.embedder import Embedder
from marginface.errors import MarginfaceError
from marginface.model import RESIZINGS, Resize, Triple

ORIGIN_KEY = "marginface.origin"  # of Parquet's metadata, and of an array in a .npz file
VERSION = 1
LONGEST = 1 << 16  # characters
CROPS = "crops"
SHORT_HASH = 12  # digits, in messages


@dataclass(frozen=True)
class Origin:
    """The model and the preprocessing that embeddings were computed with.

    Args:
        fingerprint: of the model and its preprocessing, see `Embedder`.
        mean, std: of the preprocessing; None where the network takes pixels and has them built in.
        channels, crop: of the preprocessing, see `Preprocessing`.
        input_size: (height, width) that the network takes.
        flip: whether an embedding is the sum of an image's and of its mirror image's.
        resize: whether images of another size were scaled; True if they were squeezed, else how.
        backend: what ran the network.
        norms: of the shortest and the longest embedding that the model gave, before any sum.
        faces: "crops", or what decided which faces of photos were embedded: several rows may be of
            one photo.
    """

    fingerprint: str
    mean: Triple | None
    std: Triple | None
    channels: str
    crop: tuple[int, int, int, int] | None
    input_size: tuple[int, int]
    flip: bool
    resize: Resize
    backend: str
    norms: tuple[float, float]
    faces: str = CROPS

    @classmethod
    def of(
        cls,
        embedder: Embedder,
        *,
        flip: bool,
        resize: Resize,
        norms: tuple[float, float],
        faces: str = CROPS,
    ) -> Self:
        """Describe the origin of an embedder's embeddings."""
        pre, how = embedder.preprocessing, embedder.resizing(resize)
        return cls(
            fingerprint=embedder.fingerprint,
            mean=None if embedder.takes_pixels else pre.mean,
            std=None if embedder.takes_pixels else pre.std,
            channels=pre.channels,
            crop=pre.crop,
            input_size=embedder.input_size,
            flip=flip,
            resize=how == "squeeze" or how,
            backend=embedder.backend,
            norms=norms,
            faces=faces,
        )

    @classmethod
    def from_text(cls, text: str, path: Path) -> Self:
        """Read what `to_text` wrote into the file `path`.

        Raises:
            MarginfaceError: it is of a later version, or nothing that was written.
        """
        try:
            values: Any = json.loads(text[:LONGEST])
            version = values["version"]
            if isinstance(version, int) and version > VERSION:
                raise MarginfaceError(
                    f"{path} says in version {version} of '{ORIGIN_KEY}' what made it, this "
                    f"marginface knows version {VERSION}; update marginface, or embed again"
                )
            origin = cls(
                fingerprint=values["fingerprint"],
                mean=_numbers(values["mean"], 3, float),
                std=_numbers(values["std"], 3, float),
                channels=values["channels"],
                crop=_numbers(values["crop"], 4, int),
                input_size=_numbers(values["input_size"], 2, int),
                flip=values["flip"],
                resize=values["resize"],
                backend=values["backend"],
                norms=_numbers(values["norms"], 2, float),
                faces=values.get("faces", CROPS),
            )
            words = (origin.fingerprint, origin.channels, origin.backend, origin.faces)
            if (
                version != VERSION
                or not all(isinstance(word, str) for word in words)
                or not re.fullmatch("[0-9a-f]{64}", origin.fingerprint)
                or not isinstance(origin.flip, bool)
                or not (isinstance(origin.resize, bool) or origin.resize in RESIZINGS)
                or None in (origin.input_size, origin.norms)
            ):
                raise ValueError
        except MarginfaceError:
            raise
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise MarginfaceError(
                f"{path}: its entry '{ORIGIN_KEY}', what made it, is not as marginface writes it; "
                "embed the images again"
            ) from error
        return origin

    def to_text(self) -> str:
        """Return the JSON that a file keeps."""
        return json.dumps(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {"version": VERSION, **asdict(self)}
        if self.faces == CROPS:  # earlier versions do not know it
            del values["faces"]
        return values


def common_origin(origins: Mapping[Path, Origin | None]) -> Origin | None:
    """Return the common origin of several files of embeddings; None if no file records one.

    Raises:
        MarginfaceError: two files say different things.
    """
    recorded = {path: origin for path, origin in origins.items() if origin is not None}
    if not recorded:
        return None
    (first, one), *others = recorded.items()
    for path, other in others:
        if one.fingerprint != other.fingerprint:
            names = ("mean", "std", "channels", "crop", "input_size")
            differing = [name for name in names if getattr(one, name) != getattr(other, name)]
            told = f" (other {', '.join(differing)})" if differing else ""
            raise MarginfaceError(
                f"{first} was made by model {one.fingerprint[:SHORT_HASH]} and {path} by model "
                f"{other.fingerprint[:SHORT_HASH]}{told}: their embeddings cannot be compared; "
                "embed both again with one model and the same options"
            )
        if one.flip != other.flip:
            summed, alone = (first, path) if one.flip else (path, first)
            raise MarginfaceError(
                f"{summed} has embeddings summed with those of mirror images, {alone} has not; "
                "embed both again, with --flip or without"
            )
    ranges = [origin.norms for origin in recorded.values()]
    return replace(one, norms=(min(a for a, _ in ranges), max(b for _, b in ranges)))


def _numbers(values: Any, count: int, kind: type) -> Any:
    """Return a list of so many finite numbers as a tuple, or None for None."""
    if values is None:
        return None
    numbers = tuple(kind(each) for each in values)
    if (
        not isinstance(values, list)
        or len(numbers) != count
        or not all(map(math.isfinite, numbers))
    ):
        raise ValueError
    return numbers
