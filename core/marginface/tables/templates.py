"""The table of template verification's figures, for the terminal."""

from __future__ import annotations

from rich.table import Table

from marginface.evaluation.template_verification import TemplateVerification


def template_table(result: TemplateVerification) -> Table:
    """Build the table of the figures."""
    pairs = f"{result.same_pairs:,} same and {result.different_pairs:,} different pairs"
    table = Table(title=f"Verification (1:1), {pairs}")
    for column in ("FAR", "TAR", "95 % interval", "false accepts", "threshold"):
        table.add_column(column, justify="right")
    for target, at in result.tar_at_far.items():
        interval = f"{at.low:.2%} to {at.high:.2%}"
        table.add_row(
            target, f"{at.rate:.2%}", interval, f"{at.false_accepts:,}", f"{at.threshold:.4f}"
        )
    return table
