"""The input pipeline: endless, shuffled, augmented batches, exact to resume at any step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marginface.checks import check_shares
from marginface.data.augmentation import Augmentation, augmentation, expand_presets
from marginface.data.order import Balanced, Order, Shuffled, seed_of
from marginface.data.sources import LabelledImages
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.model import Preprocessing

with needs("train"):
    import grain

PREFETCHED_BATCHES = 4
ENDLESS = 2**62


class Batch(NamedTuple):
    """One process's part of a batch: images uint8 [share, height, width, 3] (RGB), their labels.

    Sample i of process r is number r + i size of the batch: `labels` is `all_labels[rank::size]`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]  # [share]
    all_labels: NDArray[np.int64]  # [batch], of every process


@dataclass(frozen=True)
class BatchReader:
    """Reads any batch by its number, which alone decides what is in it; see `TrainingPipeline`."""

    images: LabelledImages
    order: Order
    batch_size: int
    seed: int
    augment: Sequence[str]
    rank: int
    size: int
    preprocessing: Preprocessing

    @cached_property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return len(self.images) // self.batch_size

    def __call__(self, number: int) -> Batch:
        """Return batch `number`, which is of epoch `number // steps_per_epoch`."""
        chosen = self.order(number)
        labels = self.images.labels[chosen]
        share = slice(self.rank, None, self.size)
        crop, share_size = self.preprocessing.crop, self.batch_size // self.size
        pixels = np.empty((share_size, *(crop[2:] if crop else self.images.size), 3), np.uint8)
        epoch, batch = divmod(number, self.steps_per_epoch)
        samples = np.arange(self.batch_size) + batch * self.batch_size + epoch * len(self.images)
        generators = self._generators(samples[share])
        for row, index in enumerate(chosen[share].tolist()):
            image = self.preprocessing.cut(self.images[index][0])
            # Setting the generator takes a twentieth of the time to decode an image.
            pixels[row] = self._apply(image, next(generators)) if self.augment else image
        return Batch(pixels, labels[share], labels)

    def _generators(self, samples: NDArray[np.int64]) -> Iterator[np.random.Generator]:
        """Yield each sample's generator: one, put to the sample's place of a Philox sequence."""
        bits = np.random.Philox(seed_of(self.seed, 2))
        generator, state = np.random.Generator(bits), bits.state
        for sample in samples.tolist():
            state["state"]["counter"][3] = sample
            bits.state = state
            yield generator

    @cached_property
    def _apply(self) -> Augmentation:
        return augmentation(self.augment)


class TrainingPipeline(Iterator[Batch]):
    """Endless batches of labelled images: shuffled epochs, or balanced (see `Balanced`).

    Batch number n depends on the images, the seed, the batch size and the augmentations alone: not
    on the number of threads or processes, nor on which batches were read before. What remains of an
    epoch after the last whole batch is left out, so no batch mixes epochs. An epoch of balanced
    batches has as many batches.

    Args:
        images: the labelled images.
        batch_size: images in a batch, of all processes.
        people_per_batch: of balanced batches: how many people each has; None for shuffled ones.
        seed: 0 .. 2**32 - 1; decides order and augmentation.
        augment: names of augmentations or presets, applied in this order.
        threads: how many decode and augment ahead; 0 works in the calling thread.
        crop: (top, left, height, width) that is cut out of each image before it is augmented.
        rank: which process this is; it decodes its own share of each batch alone.
        size: how many processes share a batch.

    Raises:
        MarginfaceError: an unknown augmentation, a number out of range, or a batch that the
            processes cannot share evenly.
    """

    def __init__(
        self,
        images: LabelledImages,
        *,
        batch_size: int,
        seed: int,
        people_per_batch: int | None = None,
        augment: Sequence[str] = ("flip",),
        threads: int = 2,
        crop: tuple[int, int, int, int] | None = None,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        if not 1 <= batch_size <= len(images):
            options = "--batch-size" if people_per_batch is None else "--people-per-batch"
            raise MarginfaceError(
                f"batch size {batch_size} does not suit {images.root} with {len(images)} images; "
                f"expected 1 to {len(images)}: choose a smaller batch ({options}) or add images"
            )
        if not 0 <= seed < 2**32:
            raise MarginfaceError(f"seed must be 0 to {2**32 - 1}, got {seed}")
        if threads < 0:
            raise MarginfaceError(f"threads must be 0 or more, got {threads}")
        check_shares(batch_size, size)
        if not 0 <= rank < size:
            raise MarginfaceError(f"rank must be 0 to {size - 1}, got {rank}")
        cropping = Preprocessing(crop=crop)
        cropping.check_images(*images.size)
        order: Order = Shuffled(len(images), batch_size, seed_of(seed, 1))
        if people_per_batch is not None:
            order = _balanced(images, batch_size, people_per_batch, seed)
        augment = expand_presets(augment)
        self._read = BatchReader(images, order, batch_size, seed, augment, rank, size, cropping)
        self._threads = threads
        self.steps_per_epoch = self._read.steps_per_epoch
        self._setup = {
            "seed": seed,
            "batch_size": batch_size,
            "people_per_batch": people_per_batch,
            "augment": list(self._read.augment),
            "images": len(images),
            "images_sha256": images.fingerprint(),
        }
        self._start(0)

    def _start(self, batch: int) -> None:
        numbers = grain.MapDataset.range(batch, ENDLESS)
        options = grain.ReadOptions(self._threads, PREFETCHED_BATCHES)
        self._batches = iter(numbers.map(self._read).to_iter_dataset(options))
        self._next_batch = batch

    def __next__(self) -> Batch:
        batch: Batch = next(self._batches)
        self._next_batch += 1
        return batch

    def state(self) -> dict[str, Any]:
        """Return plain values from which `restore` continues with the batch after the last one."""
        return {**self._setup, "next_batch": self._next_batch}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken, without reading what came before.

        Raises:
            MarginfaceError: the state is of another seed, batch size, augmentation or image list.
        """
        for key, value in self._setup.items():
            if state.get(key) != value:
                raise MarginfaceError(
                    f"the saved input pipeline has {key} {state.get(key)}, this one {value}; "
                    "resume with the data and settings that the run began with"
                )
        self._start(state["next_batch"])


def _balanced(images: LabelledImages, batch_size: int, people: int, seed: int) -> Balanced:
    """Return the order of balanced batches.

    Raises:
        MarginfaceError: there are fewer people, or they cannot share a batch evenly.
    """
    if not 1 <= people <= batch_size or batch_size % people:
        raise MarginfaceError(
            f"{people} people cannot have equally many of a batch's {batch_size} images; choose a "
            "batch size (--batch-size) that is a multiple of them"
        )
    balanced = Balanced(images.labels, people, batch_size // people, seed)
    if len(balanced.counts) < people:
        raise MarginfaceError(
            f"people_per_batch is {people}, but {images.root} has {len(balanced.counts)} people; "
            f"expected at most {len(balanced.counts)}"
        )
    return balanced
