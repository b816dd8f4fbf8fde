"""What the pictures share: size, style, and a page's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from marginface.evaluation.curves import FAINT, INK

COLOURS = ("#1f77b4", "#d95f02", "#2e8b57", "#b8860b", "#7b4fa3", "#c0392b")
STYLE: Any = {
    "font.size": 12,
    "axes.edgecolor": FAINT,
    "figure.constrained_layout.h_pad": 0.08,  # inches
    "savefig.dpi": 150,
    "figure.dpi": 150,
}
WIDTH = 5.2  # inches: a phone shows 12 points of it as 12 pixels

Floats = NDArray[np.float64]
Numbers = dict[str, str]  # as the page prints them


def one_panel(height: float = 3.3) -> tuple[Figure, Axes]:
    """Return a figure of one pair of axes, `height` inches high."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK)
    return figure, axis
