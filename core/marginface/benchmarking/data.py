"""Batches of the input pipeline, beside the bare decoder in one thread."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from marginface.benchmarking.cost import Cost, take_turns
from marginface.data.images import decode_image
from marginface.data.opening import open_images
from marginface.data.packing.training_sets import pack
from marginface.data.pipeline import TrainingPipeline
from marginface.data.sources import LabelledImages

BASE = "decoder alone"
BACKEND = "core"  # no framework takes part
BATCHES = 8  # of a round
IDENTITIES, IMAGES = 16, 32  # of what is drawn: as many as a round reads of batches of 64


def measure(
    data: Path | None, batch: int, *, rounds: int, threads: int | None = None
) -> list[Cost]:
    """Return the costs of reading batches from a folder, its .rec and its .tfrecord.

    Args:
        data: images to read; noise in JPEG for None.
        batch: images in a batch.
        rounds: turns of each.
        threads: how many decode ahead; for None or 0, the calling thread.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if data is None:
            draw_images(data := Path(scratch) / "images")
        images = open_images(data)
        sources = {"as given": images}
        for suffix in ("rec", "tfrecord"):
            pack(images, target := Path(scratch) / f"packed.{suffix}")
            sources[f".{suffix}"] = open_images(target)
        works = {BASE: _decoding(images, batch)}
        works |= {name: _reading(each, batch, threads or 0) for name, each in sources.items()}
        case = f"{BATCHES} batches of {batch}, {threads or 0} threads ahead"
        return take_turns(BACKEND, case, BASE, works, rounds=rounds)


def draw_images(folder: Path) -> None:
    """Write JPEG files of smooth noise, 112 x 112, of some identities."""
    rng = np.random.default_rng(0)
    for identity in range(IDENTITIES):
        (folder / f"{identity:02}").mkdir(parents=True)
        for number in range(IMAGES):
            noise = Image.fromarray(rng.integers(0, 256, (14, 14, 3), np.uint8))
            picture = noise.resize((112, 112), Image.Resampling.BICUBIC)
            picture.save(folder / f"{identity:02}" / f"{number:02}.jpg", quality=95)


def _decoding(images: LabelledImages, batch: int) -> Callable[[], float]:
    count = min(batch * BATCHES, len(images))
    encoded = [images.encoded(index) for index in range(count)]

    def decode() -> float:
        for number in range(batch * BATCHES):
            decode_image(encoded[number % count], "memory")
        return 0.0

    return decode


def _reading(images: LabelledImages, batch: int, threads: int) -> Callable[[], float]:
    def read() -> float:  # nothing is read ahead while others have their turn
        pipeline = TrainingPipeline(images, batch_size=batch, seed=0, augment=(), threads=threads)
        return float(sum(len(next(pipeline).labels) for _ in range(BATCHES)))

    return read
