"""Tables of identification's figures and candidates, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.table import Table

from marginface.evaluation.identification import (
    FPIR_TARGETS,
    RANKS,
    THRESHOLDS,
    IdentificationResult,
    Searches,
    Share,
)
from marginface.evaluation.rates import RateAt

SHOWN = 20  # probes in the terminal


def identification_table(results: Mapping[str, IdentificationResult]) -> Table:
    """Build the table of each gallery's figures, and the mean of several."""
    table = Table(title="Identification (1:N), with 95 % intervals")
    table.add_column("metric")
    for name in results:
        table.add_column(name, justify="right")
    if len(results) > 1:
        table.add_column("mean", justify="right")
    galleries = list(results.values())

    def add(label: str, rates: Sequence[Share | RateAt | None]) -> None:
        defined = [each.rate for each in rates if each is not None]
        if not defined:
            return
        mean = [f"{np.mean(defined):.2%}"] if len(defined) == len(rates) > 1 else []
        table.add_row(label, *("-" if each is None else str(each) for each in rates), *mean)

    largest = max(each.subjects for each in galleries)
    for rank in (str(rank) for rank in RANKS if rank <= largest):
        add(f"rank {rank}", [each.ranks.get(rank) for each in galleries])
    for target in FPIR_TARGETS:
        add(f"TPIR at FPIR {target}", [each.tpir.get(target) for each in galleries])
    for target in FPIR_TARGETS:
        add(f"DIR at FPIR {target}", [each.dir.get(target) for each in galleries])
    if not any(each.mated for each in galleries):
        for text in THRESHOLDS:
            add(f"FPIR at score {text}", [each.fpir.get(text) for each in galleries])
    for target in FPIR_TARGETS if any(each.threshold for each in galleries) else ():
        texts = [each.threshold.get(target) for each in galleries]
        shown = ("-" if each is None else f"{each:.4f}" for each in texts)
        table.add_row(f"threshold at FPIR {target}", *shown)
    for label, name in (
        ("subjects", "subjects"),
        ("mated probes", "mated"),
        ("non-mated probes", "non_mated"),
    ):
        table.add_row(label, *(f"{getattr(each, name):,}" for each in galleries))
    return table


def candidates_table(probes: Sequence[str], truth: Sequence[str], searches: Searches) -> Table:
    """Build the table of the best candidate for each of the first probes."""
    table = Table(title="Who was found")
    for name in ("probe", "person", "score", "truth", "rank"):
        numbers = name in ("score", "rank")
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for at, probe in enumerate(probes[:SHOWN]):
        table.add_row(
            probe,
            str(searches.names[searches.best[at, 0]]),
            f"{searches.best_score[at, 0]:.4f}",
            truth[at] or "-",
            str(searches.rank[at]) if searches.mated[at] else "-",
        )
    table.caption = "rank: of the truth, - where the gallery does not have it"
    if len(probes) > SHOWN:
        table.caption += f"; the first {SHOWN} of {len(probes):,} probes"
    return table
