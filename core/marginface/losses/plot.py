"""The figure that papers show: target logits and gradients over the angle, decision boundaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.atomic import replacing
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.losses.base import Curve, MarginLoss
from marginface.losses.registry import find

with needs("report"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THETA = np.linspace(0.0, np.pi, 721)
COLOURS = ("#1f5fa8", "#d1495b", "#2e8b57", "#e08e1b", "#7b4fa3", "#3aa6b9")
GREY = "#9a9a9a"
DASHES = ("-", "--", "-.", ":")


def check_plot(path: Path) -> None:
    """Raise for a name that does not end in .png, or a folder that is not there."""
    if path.suffix.lower() != ".png":
        raise MarginfaceError(f"--plot {path}: expected a name that ends in .png")
    if not path.parent.is_dir():
        raise MarginfaceError(f"--plot {path}: there is no folder {path.parent}; make it first")


def write_plot(names: Sequence[str], path: Path, *, side_by_side: bool = False) -> None:
    """Draw these losses into a PNG, by groups or side by side; raises as `check_plot`."""
    check_plot(path)
    figure = draw_side_by_side(names) if side_by_side else draw(names)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=75)


def draw(names: Sequence[str]) -> Figure:
    """Return the figure: a column for each group of losses, then the decision boundaries."""
    # A + variant differs only in which sample gets which margin: its curves would be the same.
    shown = [n for n in names if n.removesuffix("_plus") not in names or not n.endswith("_plus")]
    groups = panels(shown) or {"No margin": []}  # softmax and normface: the cosine itself
    bounded = [name for name in names if find(name).shows_boundary]
    cells = len(groups) + bool(bounded)
    columns = min(cells, 4)
    rows = -(-cells // columns)
    figure = Figure(figsize=(4.1 * columns + 0.4, 4.6 * rows), layout="constrained")
    figure.suptitle("Logits over the angle to a class, before the scale", fontsize=14)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[2.3, 1.5] * rows)
    for number, (title, group) in enumerate(groups.items()):
        row, column = divmod(number, columns)
        values = figure.add_subplot(grid[2 * row, column])
        slopes = figure.add_subplot(grid[2 * row + 1, column], sharex=values)
        curves = {f"{name}{each.label}": each for name in group for each in find(name).curves()}
        _panel(values, slopes, title, curves)
    if bounded:
        row, column = divmod(len(groups), columns)
        _boundaries(figure.add_subplot(grid[2 * row : 2 * row + 2, column]), bounded)
    return figure


def draw_side_by_side(names: Sequence[str]) -> Figure:
    """Return the figure of some losses: a column for targets, one for negatives, a colour each."""
    curves = {name: find(name).curves() for name in names}
    colours = dict(zip(names, cycle(COLOURS), strict=False))
    figure = Figure(figsize=(11.5, 6.4), layout="constrained")
    scales = ", ".join(f"{name} {_scale_of(find(name)())}" for name in names)
    figure.suptitle(f"Logits over the angle to a class, before the scale ({scales})", fontsize=13)
    grid = figure.add_gridspec(2, 2, height_ratios=[2.3, 1.5])
    for column, title in enumerate(("Its own class", "Another class")):
        negative = bool(column)
        values = figure.add_subplot(grid[0, column])
        slopes = figure.add_subplot(grid[1, column], sharex=values)
        shown: dict[str, Curve] = {}
        by_curve: dict[str, str] = {}
        for name in names:  # which of a user's own loss may be its place, module:Class
            # A loss whose curves tell nothing of negatives leaves the cosine as it is.
            drawn = [each for each in curves[name] if each.negative == negative]
            drawn = drawn or [Curve(find(name)(), negative=negative)]
            added = {f"{name}{each.label}": each for each in drawn}
            shown |= added
            by_curve |= dict.fromkeys(added, colours[name])
        _panel(values, slopes, title, shown, by_curve)
    return figure


def _scale_of(loss: MarginLoss) -> str:
    return f"{loss.scale:g}" if loss.scale else "its own"  # 0: it follows the training


def panels(names: Sequence[str]) -> dict[str, list[str]]:
    """Group the losses that are drawn together, by the title of their panel."""
    panels: dict[str, list[str]] = {}
    for name in names:
        if title := find(name).panel:
            panels.setdefault(title, []).append(name)
    return panels


def _panel(
    values: Axes,
    slopes: Axes,
    title: str,
    lines: Mapping[str, Curve],
    colours: Mapping[str, str] | None = None,
) -> None:
    """Draw psi and nu of losses over the angle above, their slopes to the angle below.

    Args:
        values: for the logits.
        slopes: for their slopes.
        title: of the panel.
        lines: the curves by their texts.
        colours: of the curves by text, of which those of one colour differ by their dashes; None
            for a colour each, and dashes for negatives.
    """
    degrees, cosines = np.degrees(THETA), np.cos(THETA)
    values.plot(degrees, cosines, color=GREY, linewidth=1.2, linestyle=":", label="cos(theta)")
    slopes.plot(degrees, np.sin(THETA), color=GREY, linewidth=1.2, linestyle=":")
    drawn = {text: [curve.at(float(c)) for c in cosines] for text, curve in lines.items()}
    heights = {text: np.array([z.value for z in logits]) for text, logits in drawn.items()}
    for number, (text, curve) in enumerate(lines.items()):
        if colours is None:
            colour, kind = COLOURS[number % len(COLOURS)], "--" if curve.negative else "-"
        else:
            before = [colours[each] for each in list(lines)[:number]]
            colour = colours[text]
            kind = DASHES[before.count(colour) % len(DASHES)]
        # Of curves that coincide, as arcface's and subcenter_arcface's do, the first stays visible.
        later = list(heights.values())[number + 1 :]
        width = 3.2 if any(np.allclose(heights[text], other, atol=0.02) for other in later) else 1.6
        values.plot(degrees, heights[text], kind, color=colour, linewidth=width, label=text)
        to_angle = np.array([z.slope for z in drawn[text]]) * np.sin(THETA)
        slopes.plot(degrees[1:-1], to_angle[1:-1], kind, color=colour, linewidth=width)
    values.set_title(title, fontsize=11)
    values.legend(fontsize=7.5, frameon=False, loc="lower left")
    values.tick_params(labelbottom=False)
    for axis, text in ((values, "logit / scale"), (slopes, "- d logit / d theta")):
        axis.set_ylabel(text, fontsize=9)
        axis.set_xlim(0, 180)
        axis.set_xticks([0, 45, 90, 135, 180])
        axis.grid(color="#e6e6e6")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    slopes.set_xlabel("theta, degrees", fontsize=9)


def _boundaries(axis: Axes, names: Sequence[str]) -> None:
    """Draw where two classes' logits are equal for a sample of class 1."""
    for number, name in enumerate(names):
        loss = find(name)()
        colour = GREY if name == "normface" else COLOURS[number % len(COLOURS)]
        axis.plot(*boundary(loss), color=colour, linewidth=1.8, label=name)
    axis.set_title("Decision boundary of two classes", fontsize=11)
    axis.set_xlabel("angle to the other class, degrees", fontsize=9)
    axis.set_ylabel("angle to its own class, degrees", fontsize=9)
    axis.set_xlim(0, 180)
    axis.set_ylim(0, 180)
    axis.set_xticks([0, 45, 90, 135, 180])
    axis.set_yticks([0, 45, 90, 135, 180])
    axis.grid(color="#e6e6e6")
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)


def boundary(loss: MarginLoss) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return angles to the other class and the largest own angle that still wins, in degrees."""
    targets = np.array([loss.target(float(c), 1.0, {}).value for c in np.cos(THETA)])
    negatives = np.array([loss.negative(float(c), {}).value for c in np.cos(THETA)])
    wins = targets[None, :] >= negatives[:, None]  # [other, own]
    last = np.where(wins.any(1), wins.shape[1] - 1 - wins[:, ::-1].argmax(1), -1)
    kept = last >= 0
    return np.degrees(THETA[kept]), np.degrees(THETA[last[kept]])
