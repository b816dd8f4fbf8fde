"""The figure that papers show: target logits and gradients over the angle, decision boundaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from marginface import losses
from marginface.atomic import replacing
from marginface.errors import MarginfaceError
from marginface.losses import Logit, MarginLoss

THETA = np.linspace(0.0, np.pi, 721)
COLOURS = ("#1f5fa8", "#d1495b", "#2e8b57", "#e08e1b", "#7b4fa3", "#3aa6b9")
GREY = "#9a9a9a"
# Losses that are read side by side share a panel.
PANELS = {
    "Additive margins": ("cosface", "arcface", "subcenter_arcface", "combined_margin"),
    "Multiplied angles": ("sphereface", "sphereface_r_v1", "sphereface_r_v2"),
    "Linear and circular": ("li_arcface", "circle"),
    "Binary": ("sphereface2", "uniface"),
    "Norm as quality": ("magface", "adaface"),
    "Drawn margins": (
        "elasticface_arc",
        "elasticface_cos",
        "elasticface_arc_plus",
        "elasticface_cos_plus",
    ),
    "Hard negatives": ("curricularface",),
}
BOUNDARIES = ("normface", "sphereface_r_v1", "cosface", "arcface", "li_arcface", "circle")


class Curve(NamedTuple):
    """One line of a panel: psi or nu of a loss as a function of the cosine."""

    label: str
    value: Callable[[float], Logit]
    negative: bool = False


def write_plot(names: Sequence[str], path: Path) -> None:
    """Draw these losses into a PNG.

    Raises:
        MarginfaceError: a name that does not end in .png, or a folder that is not there.
    """
    if path.suffix.lower() != ".png":
        raise MarginfaceError(f"--plot {path}: expected a name that ends in .png")
    if not path.parent.is_dir():
        raise MarginfaceError(f"--plot {path}: there is no folder {path.parent}; make it first")
    with replacing(path) as temporary:
        draw(names).savefig(temporary, format="png", dpi=75)


def draw(names: Sequence[str]) -> Figure:
    """Return the figure: a column for each group of losses, then the decision boundaries."""
    # Of a + variant only the spread of the margins and who gets which are its own: one is enough.
    shown = {n for n in names if n.removesuffix("_plus") not in names or not n.endswith("_plus")}
    groups = {title: [n for n in group if n in shown] for title, group in PANELS.items()}
    groups = {title: group for title, group in groups.items() if group}
    if not groups:  # softmax and normface: the cosine itself
        groups = {"No margin": []}
    bounded = [name for name in BOUNDARIES if name in names]
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
        _panel(values, slopes, title, [curve for name in group for curve in curves(name)])
    if bounded:
        row, column = divmod(len(groups), columns)
        _boundaries(figure.add_subplot(grid[2 * row : 2 * row + 2, column]), bounded)
    return figure


def curves(name: str) -> list[Curve]:
    """Return the curves of a loss, at typical norms, drawn margins and states."""
    loss = losses.get(name)

    def own(text: str, norm: float = 1.0, **prepared: float) -> Curve:
        return Curve(f"{name}{text}", lambda c: loss.target(c, norm, prepared))

    def other(text: str, **prepared: float) -> Curve:
        return Curve(f"{name}{text}", lambda c: loss.negative(c, prepared), negative=True)

    if name == "combined_margin":
        mixed = losses.get(name, m2=0.3, m3=0.2)
        return [Curve(f"{name}, m2 = 0.3, m3 = 0.2", lambda c: mixed.target(c, 1.0, {}))]
    if name == "sphereface":
        return [own(", start", annealing=1000.0), own(", end", annealing=5.0)]
    if name == "magface":
        return [own(f", norm {norm:g}", norm=norm) for norm in (10.0, 60.0, 110.0)]
    if name == "adaface":
        return [own(f", k = {k:+g}", quality=k) for k in (-1.0, 0.0, 1.0)]
    if name.startswith("elasticface"):
        margin, std = getattr(loss, "margin"), getattr(loss, "std")  # noqa: B009
        return [
            own(f", {sign:+d} std" if sign else "", margin=margin + sign * std)
            for sign in (-2, 0, 2)
        ]
    if name == "curricularface":
        hard = [other(f", hard, t = {t:g}", t=t, threshold=-2.0) for t in (0.0, 0.3, 0.6)]
        return [own(""), *hard]
    if name in ("sphereface_r_v2", "li_arcface", "circle", "sphereface2"):
        return [own(""), other(", others")]
    return [own("")]


def _panel(values: Axes, slopes: Axes, title: str, lines: list[Curve]) -> None:
    """Draw psi and nu over the angle above, their slopes to the angle below."""
    degrees, cosines = np.degrees(THETA), np.cos(THETA)
    values.plot(degrees, cosines, color=GREY, linewidth=1.2, linestyle=":", label="cos(theta)")
    slopes.plot(degrees, np.sin(THETA), color=GREY, linewidth=1.2, linestyle=":")
    for number, line in enumerate(lines):
        found = [line.value(float(c)) for c in cosines]
        colour = COLOURS[number % len(COLOURS)]
        kind = "--" if line.negative else "-"
        # Curves that coincide, such as arcface's and subcenter_arcface's, stay visible.
        width = 3.2 if line.label in ("arcface", "sphereface, start") else 1.6
        values.plot(
            degrees, [z.value for z in found], kind, color=colour, linewidth=width, label=line.label
        )
        to_angle = np.array([z.slope for z in found]) * np.sin(THETA)
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
        loss = losses.get(name)
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
    own = np.array([loss.target(float(c), 1.0, {}).value for c in np.cos(THETA)])
    others = np.array([loss.negative(float(c), {}).value for c in np.cos(THETA)])
    wins = own[None, :] >= others[:, None]  # [other, own]
    last = np.where(wins.any(1), wins.shape[1] - 1 - wins[:, ::-1].argmax(1), -1)
    kept = last >= 0
    return np.degrees(THETA[kept]), np.degrees(THETA[last[kept]])
