"""The end of a run, as `train` returns it."""

from __future__ import annotations

import signal
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from marginface.errors import MissingPackageError
from marginface.runs.folder import RunFolder
from marginface.runs.metrics import VERIFICATION, read_metrics
from marginface.tables.showing import as_html
from marginface.text import printable

if TYPE_CHECKING:
    from marginface.evaluation.drawing import Drawing

SHOWN = 10  # verifications; the files have all


@dataclass(frozen=True, repr=False)
class TrainResult:
    """The end of a run; a notebook shows its verifications and curves.

    Args:
        run: the run folder.
        step: steps taken.
        best_accuracy: the best verification accuracy, or None without verification.
        best_step: step of the best checkpoint, or None without `keep_best`.
        signal: number of the signal that stopped it, or None at its end.
    """

    run: Path
    step: int
    best_accuracy: float | None
    signal: int | None
    best_step: int | None = None

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of the run, in order: kind ("train", "verification"), step, values."""
        return read_metrics(RunFolder(self.run).metrics)

    def plot(self) -> Drawing:
        """Draw loss and verification accuracy by step.

        Raises:
            MissingPackageError: matplotlib is not installed.
        """
        from marginface.training.curves import draw_training

        return draw_training(self.metrics)

    def __repr__(self) -> str:
        parts = [f"run {str(self.run)!r} at step {self.step:,}"]
        if self.best_accuracy is not None:
            parts.append(f"best verification accuracy {self.best_accuracy:.2%}")
        if self.best_step is not None:
            parts.append(f"best checkpoint of step {self.best_step:,}")
        if self.signal is not None:
            parts.append(f"stopped by {signal.Signals(self.signal).name}; resume=True goes on")
        return f"TrainResult({', '.join(parts)})"

    def _repr_html_(self) -> str:
        table = Table()
        for name in ("step", "accuracy", "best", "at one threshold", "AUC"):
            table.add_column(name, justify="right")
        metrics = self.metrics
        for each in [each for each in metrics if each["kind"] == VERIFICATION][-SHOWN:]:
            rates = ("accuracy", "best_accuracy", "accuracy_at_one_threshold")
            shares = [f"{each[name]:.2%}" for name in rates]
            table.add_row(f"{each['step']:,}", *shares, f"{each['auc']:.4f}")
        parts = [f"<p>{escape(printable(repr(self)))}</p>", as_html(table) if table.rows else ""]
        if metrics:
            with suppress(MissingPackageError):
                picture = b64encode(self.plot()._repr_png_()).decode()
                parts.append(f'<img alt="training curves" src="data:image/png;base64,{picture}">')
        return "".join(parts)
