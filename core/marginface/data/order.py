"""Which images are in a batch: a function of seed and number, in memory that no step adds to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from marginface.extras import needs

with needs("train"):
    import absl.logging

    # Grain warns on import that it found no JAX, which nothing here needs.
    _verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    from grain.experimental import index_shuffle

    absl.logging.set_verbosity(_verbosity)

Integers = NDArray[np.int64]
ROUNDS = 4  # of the shuffle's cipher
FEW = 4096  # fewer are permuted as a whole: grain's shuffle takes milliseconds for each of a few


class Order(Protocol):
    """The images of each batch."""

    def __call__(self, number: int) -> Integers:
        """Return the images of batch `number`, from 0: [batch]."""


@dataclass(frozen=True)
class Shuffled:
    """Every image once an epoch, each epoch in a new order.

    Args:
        images: how many there are.
        batch_size: images in a batch.
        seed: of `seed_of`.
    """

    images: int
    batch_size: int
    seed: int

    def __call__(self, number: int) -> Integers:
        """Return the images of batch `number`, from 0: [batch]."""
        epoch, batch = divmod(number, self.images // self.batch_size)
        return _shuffled(_part(batch, self.batch_size), self.images, self.seed + epoch)


@dataclass(frozen=True, eq=False)
class Balanced:
    """In every batch so many people, with so many images of each, one person after the other.

    People come in rounds, each in a new order. A round has every person once, but for what remains
    after its last whole batch. So do a person's images, in the rounds of that person: a batch has
    one twice only if the person has too few, and then each as often as any other, or once more.

    Args:
        labels: [images], of whom each shows.
        people: in a batch.
        each: images of a person in a batch.
        seed: a run's.
    """

    labels: Integers
    people: int
    each: int
    seed: int

    def __call__(self, number: int) -> Integers:
        """Return the images of batch `number`, from 0: [batch]."""
        turn, batch = divmod(number, len(self.counts) // self.people)
        chosen = _permuted(_part(batch, self.people), len(self.counts), self.seed, 3, turn)
        return np.concatenate([self._images(person, turn) for person in chosen.tolist()])

    def _images(self, person: int, turn: int) -> Integers:
        """Return the images of a person in one round: [each]."""
        count = int(self.counts[person])
        again, part = divmod(turn, max(1, count // self.each))
        places = _part(part, self.each) % count
        chosen = _permuted(places, count, self.seed, 4, person, again)
        images: Integers = self._by_person[self._starts[person] + chosen]
        return images

    @cached_property
    def counts(self) -> Integers:
        """Images of each person who has any."""
        counts = np.bincount(self.labels)
        return counts[counts > 0]

    @cached_property
    def _starts(self) -> Integers:
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def _by_person(self) -> Integers:
        return np.argsort(self.labels, kind="stable")


def seed_of(seed: int, *uses: int) -> int:
    """Return the seed of one use of a run's seed."""
    return int(np.random.SeedSequence([seed, *uses]).generate_state(1)[0])


def _permuted(places: Integers, count: int, *uses: int) -> Integers:
    """Return what stands at some places of a permutation of `count`, one for each use."""
    if count >= FEW:
        return _shuffled(places, count, seed_of(*uses))
    keys = np.random.SeedSequence(uses).generate_state(count)
    return np.argsort(keys, kind="stable")[places]


def _part(number: int, length: int) -> Integers:
    return np.arange(length) + number * length


def _shuffled(places: Integers, count: int, seed: int) -> Integers:
    """Return what stands at some places of a permutation of `count`, without making all of it."""
    seed, last = seed % 2**32, count - 1
    # By position: names take a fifth of a call's time.
    return np.array([index_shuffle(place, last, seed, ROUNDS) for place in places.tolist()])
