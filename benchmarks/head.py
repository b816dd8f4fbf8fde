"""The classification head beside the dense ones and the bare matrix products.

python benchmarks/head.py --backend all --output results/
"""

from __future__ import annotations

import json
import os
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import typer
from head_rivals import Rival, available, build, inputs, measure, needed
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from marginface.atomic import replacing
from marginface.benchmarking import interleave, machine, ratios

RIVALS = {
    "torch": ("ours", "dense", "pytorch-metric-learning", "products"),
    "tf": ("ours", "dense", "dense jit"),
}
STEPS = ("optimizer", "update", "sampled 0.1")


@dataclass(frozen=True)
class Cost:
    """What one rival took; `to_ours` is its time over ours (over the optimizer's for steps)."""

    backend: str
    rival: str
    batch: int
    classes: int
    seconds: list[float]
    to_base: tuple[float, float, float]
    memory: int


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
            for names in (RIVALS[each], STEPS):
                found = compare(each, names, batch, number, turns)
                Console(width=110).print(table(found))
                costs += found
                if output is not None:
                    write(output / "head.json", {"costs": [asdict(cost) for cost in costs]})


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


def table(costs: list[Cost]) -> Table:
    """Return the costs of one size as a table."""
    first = costs[0]
    result = Table(
        title=f"{first.backend}, batch {first.batch}, {first.classes:,} classes",
        caption=f"MB beside weights and {'momentum' if first.rival in STEPS else 'gradient'}",
        box=SIMPLE,
    )
    result.add_column("rival", no_wrap=True)
    for column in ("ms", f"x {first.rival}", "smallest", "largest", "MB"):
        result.add_column(column, justify="right", no_wrap=True)
    for cost in costs:
        middle = f"{statistics.median(cost.seconds) * 1e3:.0f}"
        shares = (f"{ratio:.2f}" for ratio in cost.to_base)
        result.add_row(cost.rival, middle, *shares, f"{cost.memory / 1e6:.0f}")
    return result


def write(path: Path, found: dict[str, object]) -> None:
    """Write results and the machine they are from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        record = {"machine": machine(), **found}
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
