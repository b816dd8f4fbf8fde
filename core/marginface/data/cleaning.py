"""Sub-center ArcFace's cleaning step: which images lie too far from their identity's centre."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.atomic import replacing
from marginface.data.joined import JoinedImages
from marginface.data.sources import LabelledImages
from marginface.errors import MarginfaceError
from marginface.losses import angles_to_dominant
from marginface.regular import real_path
from marginface.text import from_system, printable

COLUMNS = ("path", "identity", "angle", "kept")
OF_SEVERAL = (*COLUMNS, "data")  # of several sets: `data` names the path's set


@dataclass(frozen=True)
class Judged:
    """An image by number, its angle in degrees to its identity's dominant centre, if it is kept."""

    number: int
    identity: str
    angle: float
    kept: bool


def centers_per_class(weight: NDArray[Any], identities: Sequence[str], source: str) -> int:
    """Count the centres a class in a head's weight [classes * centres, size].

    Raises:
        MarginfaceError: one centre a class, from which nothing can be cleaned.
    """
    centers, rest = divmod(len(weight), max(len(identities), 1))
    if rest or centers < 2:
        raise MarginfaceError(
            f"{source} has {len(weight)} class weights for {len(identities)} identities, expected "
            "several for each; train it with --loss subcenter_arcface"
        )
    return centers


def judge(
    images: LabelledImages,
    batches: Callable[[Sequence[str]], Iterator[tuple[Sequence[str], NDArray[Any]]]],
    weight: NDArray[Any],
    centers: int,
    max_angle: float,
) -> list[Judged]:
    """Measure every image's angle; one identity's embeddings are in memory at a time.

    Args:
        images: the images; label i has rows i * centers and on in `weight`.
        batches: names to batches of them with their embeddings, in order.
        weight: class weights [identities * centers, embedding_size].
        centers: centres a class.
        max_angle: degrees; what is farther is not kept.
    """
    # Identity by identity: a file may hold them in any order.
    order = np.argsort(images.labels, kind="stable").tolist()
    embedded = (row for _, values in batches([*map(images.name, order)]) for row in values)
    rows = zip(order, embedded, strict=True)
    judged: list[Judged] = []
    for label, members in groupby(rows, key=lambda row: int(images.labels[row[0]])):
        numbers, embeddings = zip(*members, strict=True)
        at = label * centers
        zeros = np.zeros(len(numbers), int)
        radians = angles_to_dominant(
            np.stack(embeddings), zeros, weight[at : at + centers], centers
        )
        angles = np.degrees(radians).tolist()
        judged += [
            Judged(number, images.identities[label], angle, angle <= max_angle)
            for number, angle in zip(numbers, angles, strict=True)
        ]
    return judged


def write_table(images: LabelledImages, judged: Sequence[Judged], output: Path) -> None:
    """Write path, identity, angle in degrees and kept (1 or 0) as CSV, whole or not at all.

    Of several sets a path is the one inside its set, which the column `data` names. Control
    characters of names are escaped.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing(output) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(OF_SEVERAL if isinstance(images, JoinedImages) else COLUMNS)
        for image in judged:
            row = (printable(image.identity), f"{image.angle:.4f}", int(image.kept))
            if isinstance(images, JoinedImages):
                root, path = images.origin(image.number)
                place = printable(from_system(str(real_path(root))))
                writer.writerow((printable(path), *row, place))
            else:
                writer.writerow((printable(images.name(image.number)), *row))
