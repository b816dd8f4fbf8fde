"""The classification head beside the dense ones and the bare matrix products.

python benchmarks/head.py --backend all --output results/
"""

from __future__ import annotations

import os
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import typer
from harness import interleave, ratios, show, write
from head_rivals import Rival, available, build, measure, needed

from marginface.benchmarking.losses import inputs

RIVALS = {
    "torch": ("ours", "dense", "pytorch-metric-learning", "products"),
    "tf": ("ours", "dense", "dense jit"),
}
STEPS = ("optimizer", "update", "sampled 0.1")
CARRIED = {"optimizer": "momentum", "adamw optimizer": "moments"}
ADAMW = ("adamw optimizer", "adamw update", "adamw sampled 0.3")


@dataclass(frozen=True)
class Cost:
    """What one rival took; `to_base` is its time over that of the first one of the table."""

    backend: str
    rival: str
    batch: int
    classes: int
    seconds: list[float]
    to_base: tuple[float, float, float]
    memory: int | None


def main(
    backend: str = "all",
    classes: str = "10000,100000,1000000",
    batch: int = 128,
    rounds: int = 9,
    million_rounds: int = 5,
    output: Path | None = None,
) -> None:
    """Time heads side by side, check that they agree, and measure their memory."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    costs: list[Cost] = []
    for each in RIVALS if backend == "all" else (backend,):
        for number in map(int, classes.split(",")):
            turns = rounds if number < 10**6 else million_rounds
            for names in (RIVALS[each], STEPS, ADAMW):
                compared = compare(each, names, batch, number, turns)
                show_costs(compared, names[0])
                costs += compared
                write(output and output / "head.json", costs=[asdict(cost) for cost in costs])


def compare(
    backend: str, names: tuple[str, ...], batch: int, classes: int, rounds: int
) -> list[Cost]:
    """Return the costs of rivals of one size; the first is what the others are ratios to.

    Those that compute gradients share their weights and are held to ours.
    """
    base, rivals = names[0], dict[str, Rival]()
    for name in names:
        if needed(name, batch, classes) > available():
            print(f"{backend} {name}, {classes:,} classes: left out, too little memory")
            continue
        shared = rivals[base].weight if rivals and base == "ours" else None
        rivals[name] = build(backend, name, batch, classes, weight=shared)
        if base == "ours" and name != base:
            ours = rivals[base]
            if (backend, name) == ("torch", "dense"):
                ours = build(backend, "ours as dense", batch, classes, weight=shared)
            _agree(f"{backend} {name}", ours, rivals[name], batch, classes)
    works = {name: rival.step for name, rival in rivals.items()}
    seconds = interleave(works, rounds=rounds, repeats=1, warm_up=1)
    del rivals, works  # before other processes need the memory
    return [
        Cost(
            backend,
            name,
            batch,
            classes,
            seconds[name],
            ratios({"of": seconds[name], "to": seconds[base]}, "of", "to"),
            measure(backend, name, batch, classes).memory,
        )
        for name in seconds
    ]


def _agree(name: str, ours: Rival, rival: Rival, batch: int, classes: int) -> None:
    """Raise unless a rival finds the loss and the gradients that ours finds."""
    if ours.evaluate is None or rival.evaluate is None:
        return
    some = np.random.default_rng(1).integers(0, classes, 1000)
    rows = np.concatenate([inputs(batch, classes)[1], some])
    pairs = zip(ours.evaluate(rows), rival.evaluate(rows), strict=True)
    for part, (wanted, got) in zip(("loss", "embeddings", "weights"), pairs, strict=True):
        error = np.abs(np.asarray(got) - wanted).max() / np.abs(wanted).max()
        if not error < 1e-4:
            raise SystemExit(f"{name} disagrees with ours on the {part}: {error:.1e}")


def show_costs(costs: list[Cost], base: str) -> None:
    """Print the costs of one size; `base` is what they are ratios to."""
    first = costs[0]
    rows = [
        (
            cost.rival,
            f"{statistics.median(cost.seconds) * 1e3:.1f}",
            *(f"{ratio:.2f}" for ratio in cost.to_base),
            "" if cost.memory is None else f"{cost.memory / 1e6:.0f}",
        )
        for cost in costs
    ]
    show(
        f"{first.backend}, batch {first.batch}, {first.classes:,} classes",
        ("rival",),
        ("ms", f"x {base}", "smallest", "largest", "MB"),
        rows,
        caption=f"MB beside weights and {CARRIED.get(base, 'gradient')}",
    )


if __name__ == "__main__":
    typer.run(main)
