"""Where the input pipeline's time goes: stages, augmentations, threads.

python benchmarks/data_stages.py --data faces/
MARGINFACE_FACES=FOLDER python benchmarks/data_stages.py  # on FOLDER/lfw112/train

All take turns in each round. Microseconds an image are CPU time of the process, threads and all:
other work on the machine disturbs it less than the clock. Ratios are of the same round.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import typer
from data import SETTLED, decode, packed, take
from harness import real_faces, show, spread, write

from marginface.data.augmentation import AUGMENTATIONS, PRESETS
from marginface.data.opening import open_images
from marginface.data.order import Shuffled
from marginface.data.pipeline import PREFETCHED_BATCHES, TrainingPipeline
from marginface.data.sources import LabelledImages

LARGE = 490_623, 5_822_653  # images of CASIA-WebFace and MS1MV2
LIMIT, WHOLE = "bare decoder", "whole batches"
Works = dict[str, Callable[[], object]]


def main(
    data: Path | None = None,
    batch: int = 64,
    batches: int = 10,
    rounds: int = 9,
    threads: str = "1,2,4,8",
    output: Path | None = None,
) -> None:
    """Time the parts of the pipeline over a folder, its .rec and its .tfrecord."""
    counts = [int(count) for count in threads.split(",")]
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for source, images in packed(open_images(data or real_faces()), Path(temporary)).items():
            pipeline = partial(TrainingPipeline, images, batch_size=batch, seed=0)
            works = stages(images, pipeline(augment=(), threads=0), batch, batches)
            if source == "rec":
                for name in (*PRESETS, *AUGMENTATIONS):
                    works[name] = partial(take, pipeline(augment=(name,), threads=0), batches)
            loaders = {count: pipeline(augment=(), threads=count) for count in counts}
            cpu, speeds = measured(works, loaders, batch, batches, rounds)
            results[source] = {"cpu": cpu, "images/s": speeds}
            show_cpu(f"{source}, batch {batch}, {rounds} rounds", cpu)
            show_speeds(speeds)
    write(output, batch=batch, results=results)


def stages(images: LabelledImages, pipeline: TrainingPipeline, batch: int, batches: int) -> Works:
    """Return the parts of reading batches in the calling thread, and the whole."""
    orders = {count: Shuffled(count, batch, 0) for count in (len(images), *LARGE)}
    chosen = [each for at in range(batches) for each in orders[len(images)](at).tolist()]
    encoded = [images.encoded(index) for index in chosen]
    works: Works = {
        LIMIT: lambda: decode(encoded),
        "reading and decoding": lambda: [images[index][1] for index in chosen],
        WHOLE: lambda: take(pipeline, batches),
    }
    for count, order in orders.items():
        works[f"order of {count:,}"] = lambda order=order: [order(at) for at in range(batches)]
    return works


def measured(
    works: Works, loaders: dict[int, TrainingPipeline], batch: int, batches: int, rounds: int
) -> tuple[dict[str, list[float]], dict[int, list[float]]]:
    """Return CPU seconds an image of all, and the loaders' images a second, by round."""
    cpu, speeds = defaultdict(list), defaultdict(list)
    for work in works.values():  # warm
        work()
    for loader in loaders.values():
        take(loader, 1)
    time.sleep(SETTLED)
    for _ in range(rounds):
        for name, work in works.items():
            started = time.process_time()
            work()
            cpu[name].append((time.process_time() - started) / batch / batches)
        for count, loader in loaders.items():
            ahead = PREFETCHED_BATCHES + 2 * count
            started = time.process_time()
            take(loader, ahead)  # what was read ahead
            begun = time.perf_counter()
            take(loader, batches)
            speeds[count].append(batch * batches / (time.perf_counter() - begun))
            time.sleep(SETTLED)  # as many are read ahead again
            taken = batch * (ahead + batches)
            cpu[f"{WHOLE}, {count} threads"].append((time.process_time() - started) / taken)
    return dict(cpu), dict(speeds)


def show_cpu(title: str, cpu: dict[str, list[float]]) -> None:
    """Print microseconds of CPU time an image, and the limit's share of them."""
    rows = []
    for name, seconds in cpu.items():
        micro = [value * 1e6 for value in (statistics.median(seconds), min(seconds), max(seconds))]
        shares = spread(cpu, LIMIT, name), spread(cpu, WHOLE, name)
        rows.append((name, *(f"{value:.1f}" for value in micro), *shares[0], *shares[1]))
    of = [
        f"{base}, {which}" for base in ("of limit", "of whole") for which in ("", "least", "most")
    ]
    show(title, ("work",), ("us CPU", "least", "most", *of), rows)


def show_speeds(speeds: dict[int, list[float]]) -> None:
    """Print images a second by the clock, and the ratio to the first count of threads."""
    first = next(iter(speeds.values()))
    rows = []
    for count, values in speeds.items():
        ratios = [value / base for value, base in zip(values, first, strict=True)]
        figures = (statistics.median(ratios), min(ratios), max(ratios))
        speed = f"{statistics.median(values):,.0f}"
        rows.append((count, speed, *(f"{value:.2f}" for value in figures)))
    show("by the clock", ("threads",), ("images/s", "ratio", "smallest", "largest"), rows)


if __name__ == "__main__":
    typer.run(main)
