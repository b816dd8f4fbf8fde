"""Images a second of the input pipeline, against the bare decoder and PyTorch's DataLoader.

python benchmarks/data.py --data faces/                             # figures: --rounds 15
MARGINFACE_FACES=FOLDER python benchmarks/data.py                 # on FOLDER/lfw112/train
python benchmarks/data.py --records 1000000                       # memory over so many records

The limit is `decode_image` on images in memory, in one thread. A loader with N workers (threads, or
processes of the DataLoader) is held to N times the limit, one without to the limit itself; "bare
decoder, N processes" tells how much of that the cores give. With --augment, ours alone augments.
"""

from __future__ import annotations

import itertools
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from harness import real_faces, show, write
from PIL import Image

from marginface.data.images import decode_image
from marginface.data.opening import open_images
from marginface.data.packing.training_sets import pack
from marginface.data.pipeline import PREFETCHED_BATCHES, TrainingPipeline
from marginface.data.sources import LabelledImages

SETTLED = 0.1  # seconds in which what was read ahead is there: it must not disturb the next loader
Batches = Iterator[Sequence[Any]]  # images, labels, ...


class Samples(torch.utils.data.Dataset):
    """What a DataLoader reads: our images with our decoder, or a folder's files with Pillow."""

    def __init__(self, images: LabelledImages, pillow: bool) -> None:
        self.images, self.pillow = images, pillow

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        if not self.pillow:
            return self.images[index]
        path = self.images.root / self.images.name(index)
        return np.array(Image.open(path).convert("RGB")), self.images.labels[index]


class Orders(torch.utils.data.Sampler):
    """Endless batches of indices."""

    def __init__(self, images: int, batch: int) -> None:
        self.images, self.batch = images, batch

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng(0)
        while True:
            order = rng.permutation(self.images)
            for at in range(0, self.images - self.batch + 1, self.batch):
                yield order[at : at + self.batch].tolist()


def main(
    data: Path | None = None,
    batch: int = 64,
    batches: int = 20,
    rounds: int = 7,
    workers: str = "0,1,2",
    augment: str = "",
    records: int = 0,
    output: Path | None = None,
) -> None:
    """Time loaders over a folder, its .rec and its .tfrecord, or watch the memory."""
    if records:
        watch_memory(records)
        return
    data = data or real_faces()
    counts = [int(count) for count in workers.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        sources = packed(open_images(data), Path(temporary))
        results = {
            name: timed(images, counts, augment, batch, batches, rounds)
            for name, images in sources.items()
        }
    show_shares(results, batch, f"batch {batch}, augment '{augment}', {rounds} rounds")
    write(output, batch=batch, results=results)


def packed(folder: LabelledImages, target: Path) -> dict[str, LabelledImages]:
    """Return the folder, and its images in a .rec and a .tfrecord."""
    sources = {"folder": folder}
    for name in ("rec", "tfrecord"):
        pack(folder, target / f"train.{name}")
        sources[name] = open_images(target / f"train.{name}")
    return sources


def timed(
    images: LabelledImages, counts: list[int], augment: str, batch: int, batches: int, rounds: int
) -> dict[str, tuple[int, list[float]]]:
    """Return for each loader its workers and seconds a batch, one value a round."""
    sample = [images.encoded(index) for index in range(0, len(images), len(images) // batch)]
    sample = sample[:batch]
    loaders: dict[str, tuple[int, Batches]] = {}
    names = tuple(filter(None, augment.split(",")))
    for count in counts:
        loaders[f"marginface, {count} threads"] = (
            count,
            TrainingPipeline(images, batch_size=batch, seed=0, augment=names, threads=count),
        )
        pillow = (False, True) if images.root.is_dir() else (False,)
        for plain in pillow:
            name = f"DataLoader, {'Pillow' if plain else 'our decoder'}, {count} processes"
            loader = torch.utils.data.DataLoader(
                Samples(images, plain), batch_sampler=Orders(len(images), batch), num_workers=count
            )
            loaders[name] = count, iter(loader)
    check(images, loaders, augmented=bool(names))
    seconds: dict[str, list[float]] = defaultdict(list)
    context = multiprocessing.get_context("spawn")
    pools = {count: ProcessPoolExecutor(count, context) for count in counts if count > 1}
    for count, pool in pools.items():
        list(pool.map(decode, [sample] * count))  # warm
    for _ in range(rounds):
        seconds["limit"].append(stopwatch(lambda: [decode(sample) for _ in range(batches)]))
        for count, pool in pools.items():
            tasks = [sample] * (batches * count)
            name = f"bare decoder, {count} processes"
            seconds[name].append(
                stopwatch(lambda pool=pool, tasks=tasks: list(pool.map(decode, tasks))) / count
            )
        for name, (count, loader) in loaders.items():
            take(loader, PREFETCHED_BATCHES + 2 * count)  # what was read ahead
            seconds[name].append(stopwatch(lambda loader=loader: take(loader, batches)))
            time.sleep(SETTLED)
    for pool in pools.values():
        pool.shutdown()
    of = {name: count for name, (count, _) in loaders.items()}
    of |= {f"bare decoder, {count} processes": count for count in pools}
    return {
        name: (of.get(name, 1), [value / batches for value in values])
        for name, values in seconds.items()
    }


def check(
    images: LabelledImages, loaders: dict[str, tuple[int, Batches]], *, augmented: bool
) -> None:
    """Hold what every loader gives to Pillow's own pixels and the images' labels."""
    known = defaultdict(set)
    for index in range(len(images)):
        pixels = np.array(Image.open(BytesIO(images.encoded(index))).convert("RGB"))
        known[pixels.tobytes()].add(int(images.labels[index]))
    for name, (_, loader) in loaders.items():
        if augmented and name.startswith("marginface"):
            continue
        for pixels, labels, *_ in itertools.islice(loader, 5):
            for image, label in zip(np.asarray(pixels), np.asarray(labels), strict=True):
                assert int(label) in known[image.tobytes()], f"{name} gives something else"


def decode(sample: list[bytes]) -> None:
    """Decode a batch of images in memory."""
    for encoded in sample:
        decode_image(encoded, "memory")


def take(loader: Batches, count: int) -> None:
    """Read batches and leave them."""
    for _ in range(count):
        next(loader)


def stopwatch(work: Any) -> float:
    """Return the seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def show_shares(results: dict[str, Any], batch: int, title: str) -> None:
    """Print images a second, and the share of limit x workers."""
    rows = []
    for source, of_source in results.items():
        limit = of_source["limit"][1]
        for name, (workers, seconds) in of_source.items():
            shares = [a / b / max(workers, 1) for a, b in zip(limit, seconds, strict=True)]
            figures = (statistics.median(shares), min(shares), max(shares))
            speed = f"{batch / statistics.median(seconds):,.0f}"
            rows.append((source, name, speed, *(f"{value:.2f}" for value in figures)))
    numbers = ("images/s", "of limit x workers", "smallest", "largest")
    show(title, ("source", "loader"), numbers, rows)


class TinyRecords:
    """Synthetic labelled images, as many as asked for, of 64 different pictures."""

    root, identities, size, skipped = Path("synthetic"), ("a", "b"), (16, 16), ()

    def __init__(self, count: int) -> None:
        self.labels = np.arange(count) % 2
        self._encoded = []
        for seed in range(64):
            file = BytesIO()
            pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(file, "JPEG")
            self._encoded.append(file.getvalue())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        return decode_image(self.encoded(index), "synthetic", self.size), self.labels[index]

    def name(self, index: int) -> str:
        return f"{self.identities[index % 2]}/{index}"

    def encoded(self, index: int) -> bytes:
        return self._encoded[index % 64]

    def fingerprint(self) -> str:
        return "synthetic"


def watch_memory(records: int) -> None:
    """Read one epoch, and print the memory at each tenth."""
    pipeline = TrainingPipeline(TinyRecords(records), batch_size=250, seed=0, threads=2)
    seen = []
    for tenth in range(10):
        take(pipeline, pipeline.steps_per_epoch // 10)
        pages = int(Path("/proc/self/statm").read_text().split()[1])  # Linux
        seen.append(pages * resource.getpagesize() / 2**20)
        print(f"{(tenth + 1) * records // 10:>12,} records: {seen[-1]:.1f} MB", flush=True)
    grown = max(seen) - seen[0]
    print(f"grew by {grown:.1f} MB after the first tenth")
    assert grown < 8, "memory grows with the number of records"


if __name__ == "__main__":
    typer.run(main)
