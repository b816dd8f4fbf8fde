"""A run's curves as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marginface.evaluation.curves import DIFFERENT, INK, SAME
from marginface.evaluation.drawing import Drawing
from marginface.extras import needs
from marginface.runs.metrics import TRAIN, VERIFICATION

with needs("report"):
    from matplotlib.ticker import MaxNLocator, PercentFormatter


def draw_training(records: Sequence[dict[str, Any]]) -> Drawing:
    """Draw the loss by step, and beside it the verification accuracy where there is one."""
    loss, accuracy = (
        [(each["step"], each[name]) for each in records if each["kind"] == kind]
        for kind, name in ((TRAIN, "loss"), (VERIFICATION, "accuracy"))
    )
    curves = [("loss", loss, SAME)]
    if accuracy:
        curves.append(("verification accuracy", accuracy, DIFFERENT))
    figure = Drawing(figsize=(5 * len(curves), 3.2), layout="constrained")
    for axes, (title, points, colour) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True
    ):
        axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3)
        axes.set_title(title, color=INK, loc="left")
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(True, color="#e6e6e6", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        if points is accuracy:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure
