"""The input pipeline: endless, shuffled, augmented batches, exact to resume at any step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import absl.logging
import numpy as np
from numpy.typing import NDArray

from marginface.checks import check_shares
from marginface.data.augmentation import augmentation, expand_presets
from marginface.data.sources import LabelledImages
from marginface.errors import MarginfaceError

# Grain warns on import that it found no JAX, which nothing here needs.
_verbosity = absl.logging.get_verbosity()
absl.logging.set_verbosity(absl.logging.ERROR)
import grain  # noqa: E402

absl.logging.set_verbosity(_verbosity)

Sample = tuple[NDArray[np.uint8], np.int64]

PREFETCHED_BATCHES = 4


class Batch(NamedTuple):
    """What one process takes of a step: images uint8 [share, height, width, 3] (RGB), their labels.

    Sample i of process r is number r + i size of the batch: `labels` is `all_labels[rank::size]`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]  # [share]
    all_labels: NDArray[np.int64]  # [batch], of every process


class TrainingPipeline(Iterator[Batch]):
    """Endless batches of labelled images, each epoch in a new order.

    Batch number n depends on the images, the seed, the batch size and the augmentations alone: not
    on the number of threads or processes, nor on which batches were read before. What remains of an
    epoch after the last whole batch is left out, so no batch mixes epochs.

    Args:
        images: the labelled images.
        batch_size: images in a batch, of all processes.
        seed: 0 .. 2**32 - 1; decides order and augmentation.
        augment: names of augmentations or presets, applied in this order.
        threads: how many decode and augment ahead; 0 works in the calling thread.
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
        augment: Sequence[str] = ("flip",),
        threads: int = 2,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        if not 1 <= batch_size <= len(images):
            raise MarginfaceError(
                f"batch size {batch_size} does not suit {images.root} with {len(images)} images; "
                f"expected 1 to {len(images)}: choose a smaller batch or add images"
            )
        if not 0 <= seed < 2**32:
            raise MarginfaceError(f"seed must be 0 to {2**32 - 1}, got {seed}")
        if threads < 0:
            raise MarginfaceError(f"threads must be 0 or more, got {threads}")
        check_shares(batch_size, size)
        if not 0 <= rank < size:
            raise MarginfaceError(f"rank must be 0 to {size - 1}, got {rank}")
        apply = augmentation(augment)

        def augmented(sample: Sample, rng: np.random.Generator) -> Sample:
            return apply(sample[0], rng), sample[1]

        self.steps_per_epoch = len(images) // batch_size
        self._setup = {
            "seed": seed,
            "batch_size": batch_size,
            "augment": list(expand_presets(augment)),
            "images": len(images),
            "images_sha256": images.fingerprint(),
        }
        # Slices keep each sample's place in its epoch, on which order and augmentation depend.
        whole, own = slice(self.steps_per_epoch * batch_size), slice(rank, None, size)
        batches = (
            grain.MapDataset.source(images)
            .seed(seed)
            .shuffle()
            .random_map(augmented)
            .slice(whole)
            .slice(own)
            .batch(batch_size // size, batch_fn=_stack)
            .repeat()
        )
        labels = (
            grain.MapDataset.source(images.labels)
            .seed(seed)
            .shuffle()
            .slice(whole)
            .batch(batch_size)
            .repeat()
        )
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=PREFETCHED_BATCHES)
        self._batches = iter(batches.to_iter_dataset(options))
        # Of one process they come with the images.
        self._labels = iter(labels.to_iter_dataset(options)) if size > 1 else None

    def __next__(self) -> Batch:
        images, labels = next(self._batches)
        return Batch(images, labels, next(self._labels) if self._labels else labels)

    def state(self) -> dict[str, Any]:
        """Return plain values from which `restore` continues with the batch after the last one."""
        return {**self._setup, "next_batch": self._batches.get_state()["next_index"]}

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
        for iterator in filter(None, (self._batches, self._labels)):
            iterator.set_state({"next_index": state["next_batch"]})


def _stack(samples: Sequence[Sample]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = zip(*samples, strict=True)
    return np.stack(images), np.array(labels, np.int64)
