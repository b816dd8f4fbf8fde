"""How time and memory of the head grow with classes and batch, up to ten million classes.

python benchmarks/head_scaling.py --output docs/    # head_scaling.json and .png
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from harness import show, write
from head_rivals import Measured, available, measure, needed
from matplotlib.figure import Figure

from marginface.atomic import replacing
from marginface.benchmarking.files import COLOURS

BATCH, CLASSES = 128, 100_000
MANY = 10_000_000
STYLES = {
    "ours": ("-", "o", "all classes"),
    "update": ("-.", "s", "all, stepped in the backward pass"),
    "sampled 0.1": ("--", "^", "one in 10"),
    "sampled 0.01": (":", "v", "one in 100"),
    "dense": ("-", "x", "dense"),
}


@dataclass(frozen=True)
class Point:
    """One rival at one size."""

    backend: str
    rival: str
    batch: int
    classes: int
    dtype: str
    measured: Measured

    def value(self, what: str) -> float:
        """Return the median seconds, or memory in MB."""
        if what == "memory":
            return max(self.measured.memory, 10**6) / 1e6
        return statistics.median(self.measured.seconds)


def main(backend: str = "all", steps: int = 5, most: int = MANY, output: Path = Path()) -> None:
    """Measure every size in a process of its own; draw what fits into memory."""
    points: list[Point] = []
    for each in ("torch", "tf") if backend == "all" else (backend,):
        for rival, batch, classes in sizes():
            # Weights and momentum of ten million classes take 20 GB in half precision.
            dtype = "bfloat16" if classes >= MANY else "float32"
            if classes > most or needed(rival, batch, classes, dtype) > available():
                print(f"{each}, {rival}, {classes:,} classes: left out, too little memory")
                continue
            cost = measure(each, rival, batch, classes, dtype=dtype, steps=steps)
            points.append(Point(each, rival, batch, classes, dtype, cost))
            print(points[-1])
    show_points(points)
    write(output / "head_scaling.json", points=[asdict(point) for point in points])
    with replacing(output / "head_scaling.png") as temporary:
        draw(points).savefig(temporary, format="png", dpi=80)


def sizes() -> Iterator[tuple[str, int, int]]:
    """Yield rivals, batches and classes."""
    for classes in (10**4, 3 * 10**4, 10**5, 3 * 10**5, 10**6, 3 * 10**6, MANY):
        if classes <= 10**6:
            yield "ours", BATCH, classes
            yield "dense", BATCH, classes
        if classes < MANY:
            yield "update", BATCH, classes
        yield "sampled 0.1", BATCH, classes
        if classes >= 10**5:
            yield "sampled 0.01", BATCH, classes
    for batch in (32, 64, 256, 512):
        yield "ours", batch, CLASSES
        yield "dense", batch, CLASSES


def show_points(points: Sequence[Point]) -> None:
    """Print every point."""
    rows = []
    for point in points:
        seconds, measured = point.measured.seconds, point.measured
        rows.append(
            (
                *(point.backend, point.rival, point.dtype, point.batch, f"{point.classes:,}"),
                f"{statistics.median(seconds) * 1e3:.0f}",
                f"{min(seconds) * 1e3:.0f} to {max(seconds) * 1e3:.0f}",
                *(f"{measured.memory / 1e6:.0f}", f"{measured.peak / 1e9:.1f}"),
            )
        )
    show(
        "MB beside weights and gradient or momentum; peak GB in all",
        ("backend", "rival", "weights"),
        ("batch", "classes", "ms", "spread", "MB", "GB"),
        rows,
    )


def draw(points: Sequence[Point]) -> Figure:
    """Return time and memory against classes and against the batch, all axes logarithmic."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    panels = figure.subplots(2, 2, sharey="row")
    for column, (by, fixed) in enumerate((("classes", "batch"), ("batch", "classes"))):
        chosen = [p for p in points if getattr(p, fixed) == (BATCH, CLASSES)[column]]
        for row, (what, label) in enumerate(
            (("time", "seconds a step"), ("memory", "MB beside weights"))
        ):
            axis = panels[row][column]
            for backend in dict.fromkeys(p.backend for p in chosen):
                for rival, (line, marker, name) in STYLES.items():
                    shown = [p for p in chosen if (p.backend, p.rival) == (backend, rival)]
                    shown.sort(key=lambda p: getattr(p, by))
                    if len(shown) < 2:
                        continue
                    faint = rival == "dense"
                    axis.plot(
                        [getattr(p, by) for p in shown],
                        [p.value(what) for p in shown],
                        line,
                        marker=marker,
                        markersize=4,
                        linewidth=1.2,
                        color=COLOURS[backend],
                        alpha=0.4 if faint else 1,
                        label=f"{backend}, {name}",
                    )
            axis.set(xscale="log", yscale="log")
            axis.set_xlabel(by)
            if by == "batch":
                numbers = sorted({p.batch for p in chosen})
                axis.set_xticks(numbers, [str(number) for number in numbers])
                axis.minorticks_off()
            if column == 0:
                axis.set_ylabel(label)
            axis.grid(visible=True, which="major", linewidth=0.4, color="#dddddd")
            axis.spines[["top", "right"]].set_visible(False)
        panels[0][column].set_title((f"batch {BATCH}", f"{CLASSES:,} classes")[column], fontsize=10)
    lines, names = panels[0][0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    typer.run(main)
