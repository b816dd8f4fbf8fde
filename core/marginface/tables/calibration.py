"""The table of a calibration's thresholds, for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from marginface.embeddings.origin import CROPS
from marginface.evaluation.calibration import Rate, needed
from marginface.serving.thresholds import Calibration


def calibration_table(calibration: Calibration) -> Table:
    """Build the table of a calibration's thresholds."""
    table = Table(title="Thresholds")
    for title in ("FAR", "threshold", "95% interval", "accepted of different", "of same"):
        table.add_column(title, justify="right", no_wrap=True)
    notes = [
        f"On {calibration.same_pairs:,} same and {calibration.different_pairs:,} different "
        f"pairs of {calibration.pairs}, "
        + ("as crops" if calibration.faces == CROPS else "photos with a detector")
        + (", with the mirror image's embedding added." if calibration.flip else "."),
    ]
    for each in calibration.thresholds:
        far = f"{each.far:g}"
        if each.supported:
            ends = f"{each.low:.4f} - {each.high:.4f}"
            table.add_row(
                far,
                f"{each.value:.4f}",
                ends,
                _share(each.false_accepts),
                _share(each.true_accepts),
            )
        else:
            table.add_row(far, "not supported", "", "", "")
            notes.append(f"FAR {far} takes {needed(each.far):,} different pairs.")
    table.caption = Text("\n".join(notes))
    return table


def _share(rate: Rate) -> str:
    value, low, high = rate
    return f"{value:.2%} ({100 * low:.2f} - {100 * high:.2f})"
