"""Costs as files: JSON to compare, Markdown to paste, a picture to look at."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

from marginface.atomic import replacing
from marginface.benchmarking.comparing import Change
from marginface.benchmarking.cost import Cost
from marginface.benchmarking.timing import machine
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.text import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"torch": "#d1495b", "tf": "#e08e1b", "core": "#3b7a9e"}
T = TypeVar("T", Cost, Change)
LARGEST = 2**24  # bytes of a record
MOST_ROUNDS, MOST_SECONDS = 10_000, 1e9


@dataclass(frozen=True)
class Record:
    """What a file of costs holds."""

    machine: dict[str, str | int | None]
    base: str
    costs: list[Cost]


def write_costs(costs: Sequence[Cost], base: str, folder: Path, name: str) -> list[Path]:
    """Write NAME.json, NAME.md and NAME.png into a folder, made if absent; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in ("json", "md", "png")]
    contents = {"machine": machine(), "base": base, "costs": [asdict(cost) for cost in costs]}
    with replacing(paths[0]) as temporary:
        temporary.write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    with replacing(paths[1]) as temporary:
        temporary.write_text(markdown(costs, base), encoding="utf-8")
    with replacing(paths[2]) as temporary:
        draw(costs, base).savefig(temporary, format="png", dpi=80)
    return paths


def read_costs(path: Path) -> Record:
    """Read a file that `write_costs` wrote.

    Raises:
        MarginfaceError: it is another file, or damaged.
    """
    if path.stat().st_size > LARGEST:
        raise MarginfaceError(
            f"{path} has more than {LARGEST} bytes; give a file of bench --output"
        )
    try:
        record = TypeAdapter(Record).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise MarginfaceError(
            f"{path} is no record of costs ({where}: {first['msg']}); give the .json of "
            "marginface bench --output"
        ) from None
    for cost in record.costs:
        times = [*cost.seconds, *cost.base_seconds]
        rounds = len(cost.seconds)
        if len(times) != 2 * rounds or not 0 < rounds <= MOST_ROUNDS:
            raise MarginfaceError(
                f"{path} has {rounds} rounds of {brief(cost.name)} and {len(cost.base_seconds)} of "
                f"its base, expected as many, 1 to {MOST_ROUNDS}; measure it again"
            )
        if not all(0 < seconds < MOST_SECONDS for seconds in times):
            raise MarginfaceError(
                f"{path} has times of {brief(cost.name)} that are none; measure it again"
            )
    return record


def groups(costs: Sequence[T]) -> list[list[T]]:
    """Split costs by backend and case, in their order."""
    keys = dict.fromkeys((cost.backend, cost.case) for cost in costs)
    return [[cost for cost in costs if (cost.backend, cost.case) == key] for key in keys]


def markdown(costs: Sequence[Cost], base: str) -> str:
    """Return a table of each backend and case, and the machine that they are from."""
    lines = []
    for group in groups(costs):
        lines += [
            f"**{group[0].backend}, {group[0].case}**",
            "",
            f"| | ms | x {base} | smallest | largest | peak MB |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for cost in group:
            memory = "" if cost.memory is None else f"{cost.memory / 1e6:.0f}"
            ratios = " | ".join(f"{ratio:.2f}" for ratio in cost.to_base)
            middle = f"{statistics.median(cost.seconds) * 1e3:.1f}"
            lines.append(f"| {cost.name} | {middle} | {ratios} | {memory} |")
        lines.append("")
    about = ", ".join(f"{name} {value}" for name, value in machine().items())
    return "\n".join([*lines, f"{len(costs[0].seconds)} rounds; {about}", ""])


def draw(costs: Sequence[Cost], base: str) -> Figure:
    """Return bars of time over the base's, a panel for each case."""
    with needs("report"):
        from matplotlib.figure import Figure

    cases = list(dict.fromkeys(cost.case for cost in costs))
    names = list(dict.fromkeys(cost.name for cost in costs))
    backends = list(dict.fromkeys(cost.backend for cost in costs))
    height = 0.8 / len(backends)
    figure = Figure(figsize=(1.6 + 3.6 * len(cases), 1.4 + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    for axis, case in zip(panels, cases, strict=True):
        for number, backend in enumerate(backends):
            shown = [c for c in costs if (c.backend, c.case) == (backend, case)]
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
        axis.set_title(case, fontsize=10)
        axis.set_xlabel(f"time over {base}'s", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].invert_yaxis()
    panels[-1].legend(frameon=False, fontsize=9, loc="lower right")
    return figure
