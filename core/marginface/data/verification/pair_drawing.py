"""Drawing verification pairs: as many of one person as of two, in ten folds."""

from __future__ import annotations

from math import comb, isqrt

import numpy as np
from numpy.typing import NDArray

from marginface.data.sources import ImagesByName, LabelledImages
from marginface.data.verification.folds import contiguous_folds
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError

FOLDS = 10

Indices = NDArray[np.int64]
Drawn = list[tuple[int, int]]


def draw_pairs(images: LabelledImages, chosen: Indices, count: int, *, seed: int = 0) -> Pairs:
    """Return pairs of some of the images, none twice, in the order of LFW's list.

    Same pairs spread over the identities as evenly as their images allow. As in LFW no person is
    in two folds, where there are twenty identities and ten of them have several images.

    Args:
        images: what to draw from.
        chosen: numbers of the images to take, [images].
        count: of pairs, a multiple of 20.
        seed: decides what is drawn.

    Raises:
        MarginfaceError: another count, or more than the images allow.
    """
    if count < 1 or count % (2 * FOLDS):
        raise MarginfaceError(
            f"the number of pairs must be a multiple of {2 * FOLDS}, for {FOLDS} folds with as "
            f"many pairs of one person as of two, got {count}"
        )
    rng = np.random.default_rng(seed)
    people = _people(images, chosen)
    groups = _groups([people[at] for at in rng.permutation(len(people))])
    in_group = count // 2 // len(groups)
    most = 2 * len(groups) * min(min(_capacity(group)) for group in groups)
    most -= most % (2 * FOLDS)
    if count > most:
        fewer = f"give --pairs {most} or less, or " if most else ""
        raise MarginfaceError(
            f"the held-out identities ({len(people):,}) allow {most:,} pairs, {count:,} are asked "
            f"for; {fewer}hold out more with --fraction"
        )
    same = [pair for group in groups for pair in _same(group, in_group, rng)]
    different = [pair for group in groups for pair in _different(group, in_group, rng)]
    ordered: Drawn = []
    size = count // 2 // FOLDS
    for begin in range(0, count // 2, size):
        ordered += same[begin : begin + size] + different[begin : begin + size]
    truth = np.tile(np.repeat([True, False], size), FOLDS)
    first, second = (tuple(map(images.name, side)) for side in zip(*ordered, strict=True))
    fold = contiguous_folds(len(truth), FOLDS)
    return Pairs(ImagesByName(images), first, second, truth, fold)


def _people(images: LabelledImages, chosen: Indices) -> list[Indices]:
    """Return the numbers of the images of each identity."""
    chosen = chosen[np.argsort(images.labels[chosen], kind="stable")]
    return np.split(chosen, np.flatnonzero(np.diff(images.labels[chosen])) + 1)


def _groups(people: list[Indices]) -> list[list[Indices]]:
    """Return the people of each fold, or one group of all where they are too few."""
    several = sorted((person for person in people if len(person) > 1), key=len, reverse=True)
    if len(people) < 2 * FOLDS or len(several) < FOLDS:
        return [people]
    groups: list[list[Indices]] = [[] for _ in range(FOLDS)]
    for at, person in enumerate(
        several
    ):  # the largest first, there and back: as many pairs in each
        turn, fold = divmod(at, FOLDS)
        groups[fold if turn % 2 == 0 else FOLDS - 1 - fold].append(person)
    for person in (person for person in people if len(person) == 1):
        min(groups, key=len).append(person)
    return groups


def _capacity(people: list[Indices]) -> tuple[int, int]:
    """Count the possible pairs of one person and of two."""
    same = sum(comb(len(person), 2) for person in people)
    return same, comb(sum(map(len, people)), 2) - same


def _same(people: list[Indices], count: int, rng: np.random.Generator) -> Drawn:
    """Take a pair of each person in turn until there are enough."""
    pairs = []
    for person in people:
        total = comb(len(person), 2)
        numbers = rng.choice(total, min(total, count), replace=False).tolist()
        pairs.append([_pair(person, number) for number in numbers])
    longest = max(map(len, pairs))
    turns = (each[turn] for turn in range(longest) for each in pairs if turn < len(each))
    return [pair for pair, _ in zip(turns, range(count), strict=False)]


def _pair(person: Indices, number: int) -> tuple[int, int]:
    """Return pair `number` of an enumeration of all: (1, 0), (2, 0), (2, 1), (3, 0) and so on."""
    larger = (1 + isqrt(1 + 8 * number)) // 2
    smaller = number - comb(larger, 2)
    return int(person[smaller]), int(person[larger])


def _different(people: list[Indices], count: int, rng: np.random.Generator) -> Drawn:
    """Draw two persons and an image of each until there are enough."""
    drawn: dict[tuple[int, int], None] = {}  # in the order of drawing
    while len(drawn) < count:
        one, other = (people[at] for at in np.sort(rng.choice(len(people), 2, replace=False)))
        drawn[int(rng.choice(one)), int(rng.choice(other))] = None
    return list(drawn)
