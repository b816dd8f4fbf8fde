"""The results of parity as a page: Markdown and a heat map."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marginface.atomic import replacing
from marginface.errors import MarginfaceError
from marginface.extras import needs, require
from marginface.losses.problems import DTYPES
from marginface.parity.measure import LAST_PLACE, SEEDS, TOLERANCE, Deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITIES = ("loss", "d embeddings", "d weight", "d bias", "state")


def pairs(rows: Sequence[Deviation]) -> list[tuple[str, str]]:
    """Return the distinct pairs that were compared, in order of appearance."""
    return list(dict.fromkeys(row.pair for row in rows))


def cells(rows: Sequence[Deviation], pair: tuple[str, str]) -> list[list[str]]:
    """Return a line for each loss and dtype: its errors, those beyond tolerance with a mark."""
    by_line: dict[tuple[str, str], dict[str, Deviation]] = {}
    for row in rows:
        if row.pair == pair:
            by_line.setdefault((row.loss, row.dtype), {})[row.quantity] = row
    return [
        [*key, *(_cell(errors.get(quantity)) for quantity in QUANTITIES)]
        for key, errors in by_line.items()
    ]


def check_page(path: Path) -> None:
    """Raise unless a page can be written there."""
    require("report", "matplotlib")
    if path.suffix.lower() != ".md":
        raise MarginfaceError(f"--report {path}: expected a name that ends in .md")
    if not path.parent.is_dir():
        raise MarginfaceError(f"--report {path}: there is no folder {path.parent}; make it first")


def write_page(rows: Sequence[Deviation], frameworks: Sequence[str], path: Path) -> Path:
    """Write Markdown to `path` and the heat map beside it, whose path is returned."""
    picture = path.with_suffix(".png")
    with replacing(picture) as temporary:
        draw(rows).savefig(temporary, format="png", dpi=110)
    with replacing(path) as temporary:
        temporary.write_text(markdown(rows, frameworks, picture.name), encoding="utf-8")
    return picture


def markdown(rows: Sequence[Deviation], frameworks: Sequence[str], picture: str) -> str:
    """Return the page as Markdown."""
    tolerances = ", ".join(f"{dtype} {value:.0e}" for dtype, value in TOLERANCE.items())
    places = ", ".join(f"{dtype} {value:.1e}" for dtype, value in LAST_PLACE.items())
    broken = sum(not row.passed for row in rows)
    lines = [
        "# Parity of the losses",
        "",
        "Do both frameworks compute what the papers say? This page is the answer, written by",
        "`marginface parity --report docs/parity.md --overwrite`.",
        "",
        "Each figure is the largest error of a value, a gradient or a next state, relative to the",
        "array's largest value. It compares a framework with the float64 reference, or the two",
        "frameworks with each other. Every combination of a loss's named choices is tried "
        f"on {SEEDS}",
        "drawn problems, with target angles from 0.05 to pi - 0.05.",
        "",
        f"Tolerances: {tolerances}. In half precision the embeddings are widened to float32 before",
        "anything is computed, so float32's tolerance applies. Their gradient is returned in half",
        f"precision, so its last place may be off ({places}).",
        "",
        f"Versions: Python {platform.python_version()}, NumPy {version('numpy')}, "
        + ", ".join(frameworks)
        + ".",
        "",
        f"Beyond tolerance: {broken or 'none'} of {len(rows)} comparisons.",
        "",
        f"![Largest errors of each loss and dtype]({picture})",
    ]
    for pair in pairs(rows):
        lines += ["", f"## {pair[0]} against {pair[1]}", ""]
        lines.append("| loss | dtype | " + " | ".join(QUANTITIES) + " |")
        lines.append("|---|---|" + "---:|" * len(QUANTITIES))
        lines += ["| " + " | ".join(line) + " |" for line in cells(rows, pair)]
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Deviation]) -> Figure:
    """Return the heat map: losses down, quantities by dtype across, one panel a pair."""
    with needs("report"):
        from matplotlib.colors import LogNorm
        from matplotlib.figure import Figure

    losses = list(dict.fromkeys(row.loss for row in rows))
    dtypes = [dtype for dtype in DTYPES if any(row.dtype == dtype for row in rows)]
    columns = [(dtype, quantity) for dtype in dtypes for quantity in QUANTITIES]
    shown = pairs(rows)
    height, width = 1.6 + 0.26 * len(losses), 2.2 + 0.27 * len(columns) * len(shown)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axis, pair in zip(axes, shown, strict=True):
        grid = np.full((len(losses), len(columns)), np.nan)
        for row in rows:
            if row.pair == pair:
                at = losses.index(row.loss), columns.index((row.dtype, row.quantity))
                grid[at] = max(row.error, 1e-17)
                if not row.passed:
                    axis.text(at[1], at[0], "x", ha="center", va="center", color="black")
        image = axis.imshow(
            np.ma.masked_invalid(grid), norm=LogNorm(1e-17, 1e-2), cmap="viridis", aspect="auto"
        )
        axis.set_facecolor("#eeeeee")
        axis.set_title(f"{pair[0]} against {pair[1]}", fontsize=10)
        names = [quantity for _, quantity in columns]
        axis.set_xticks(range(len(columns)), names, rotation=90, fontsize=7)
        axis.set_yticks(range(len(losses)), losses, fontsize=8)
        for number, dtype in enumerate(dtypes):
            first_column = number * len(QUANTITIES) - 0.5
            middle = first_column + len(QUANTITIES) / 2
            axis.text(middle, len(losses) - 0.4, dtype, ha="center", va="top", fontsize=8)
            if number:
                axis.axvline(first_column, color="white", linewidth=2)
        axis.tick_params(axis="x", pad=14, length=0)
        axis.tick_params(axis="y", length=0)
        axis.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label("largest relative error", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def _cell(row: Deviation | None) -> str:
    if row is None:
        return ""
    error = "not finite" if math.isinf(row.error) else f"{row.error:.1e}"
    return error if row.passed else f"{error} !"
