"""What the input pipeline gives, beside what a training step on the device takes."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_timing import start, tell

PEOPLE, EACH, SIDE = 64, 32, 112


def main(_: torch.device, sizes: dict[str, Any]) -> None:
    """Read JPEGs that are drawn here, from a folder and packed, with more and more threads."""
    from marginface.data.opening import open_images
    from marginface.data.packing.training_sets import pack

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        faces = Path(folder) / "faces"
        _draw(faces, sizes["images"])
        pack(open_images(faces), Path(folder) / "faces.rec")
        for source in (faces, Path(folder) / "faces.rec"):
            for threads in sizes["threads"]:
                if threads <= (os.cpu_count() or 1):
                    name = f"{source.suffix or 'folder'}, {threads} threads"
                    found[name] = _speed(source, threads, sizes)
                    tell({"images/s": found})


def _draw(root: Path, images: int) -> None:
    """Write smooth pictures, whose JPEGs are of the size that faces have."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(images):
        place = root / f"{number % PEOPLE:03d}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        noise = rng.normal(0, 6, (SIDE, SIDE, 3))
        pixels = (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{number:05d}.jpg", quality=90)


def _speed(source: Path, threads: int, sizes: dict[str, int]) -> float:
    """Return images a second, after what was read ahead is gone."""
    from marginface.data.opening import open_images
    from marginface.data.pipeline import TrainingPipeline

    pipeline = TrainingPipeline(
        open_images(source), batch_size=sizes["batch"], seed=0, augment=("flip",), threads=threads
    )
    for _ in range(4):
        next(pipeline)
    started = time.perf_counter()
    for _ in range(sizes["batches"]):
        next(pipeline)
    return sizes["batches"] * sizes["batch"] / (time.perf_counter() - started)


if __name__ == "__main__":
    start(main)
