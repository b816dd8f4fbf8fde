"""The costs of losses as a file and a chart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from marginface.atomic import replacing
from marginface.benchmarking.losses import BASE, Cost
from marginface.benchmarking.timing import machine
from marginface.extras import needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORD_NAME = "losses.json"
COLOURS = {"torch": "#d1495b", "tf": "#e08e1b"}


def write_costs(costs: Sequence[Cost], folder: Path) -> tuple[Path, Path]:
    """Write losses.json and losses.png into a folder, made if absent, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    record, picture = folder / RECORD_NAME, folder / "losses.png"
    with replacing(record) as temporary:
        contents = {"machine": machine(), "base": BASE, "costs": [asdict(cost) for cost in costs]}
        temporary.write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    with replacing(picture) as temporary:
        draw(costs).savefig(temporary, format="png", dpi=80)
    return record, picture


def draw(costs: Sequence[Cost]) -> Figure:
    """Return bars of time over NormFace's, a panel for each size."""
    with needs("report"):
        from matplotlib.figure import Figure

    sizes = list(dict.fromkeys((cost.batch, cost.classes) for cost in costs))
    names = list(dict.fromkeys(cost.name for cost in costs))
    backends = list(dict.fromkeys(cost.backend for cost in costs))
    height = 0.8 / len(backends)
    figure = Figure(figsize=(1.6 + 3.6 * len(sizes), 1.4 + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axis, (batch, classes) in zip(panels, sizes, strict=True):
        for number, backend in enumerate(backends):
            shown = [
                c for c in costs if (c.backend, c.batch, c.classes) == (backend, batch, classes)
            ]
            places = [
                names.index(c.name) + (number - (len(backends) - 1) / 2) * height for c in shown
            ]
            middles = [c.to_base[0] for c in shown]
            ends = [
                [c.to_base[0] - c.to_base[1] for c in shown],
                [c.to_base[2] - c.to_base[0] for c in shown],
            ]
            axis.barh(
                places,
                middles,
                height,
                xerr=ends,
                color=COLOURS.get(backend),
                label=backend,
                error_kw={"elinewidth": 0.8, "ecolor": "#555555"},
            )
        axis.axvline(1, color="#333333", linewidth=0.8)
        axis.set_title(f"batch {batch}, {classes:,} classes", fontsize=10)
        axis.set_xlabel(f"time over {BASE}'s", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].invert_yaxis()
    panels[-1].legend(frameon=False, fontsize=9, loc="lower right")
    return figure
