"""`marginface.evaluate`: verification of models on pairs of images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from rich.table import Table

from marginface.api.claims import claimed_folder
from marginface.api.verifying import embed_sets, open_sets
from marginface.embeddings.embedder import open_embedder
from marginface.evaluation.comparison import Comparison, write_comparison, write_single
from marginface.evaluation.output import METRICS_NAME
from marginface.extras import require
from marginface.labels import distinct_labels
from marginface.outputs import filling, refuse_among
from marginface.tables.showing import as_html, as_text
from marginface.tables.verification import comparison_table, single_table

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True, repr=False)
class EvaluationResults(Sequence[Comparison]):
    """Each model on each set; shows itself as the table of `marginface evaluate`.

    Args:
        rows: one a model and set.
        written: files and folders that were written.
    """

    rows: tuple[Comparison, ...]
    written: tuple[Path, ...] = ()

    @overload
    def __getitem__(self, at: int) -> Comparison: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Comparison]: ...
    def __getitem__(self, at: int | slice) -> Comparison | Sequence[Comparison]:
        return self.rows[at]

    def __len__(self) -> int:
        return len(self.rows)

    def table(self) -> Table:
        """Build the table of the figures."""
        return single_table(self.rows[0]) if len(self) == 1 else comparison_table(self.rows)

    def __repr__(self) -> str:
        return as_text(self.table())

    def _repr_html_(self) -> str:
        return as_html(self.table())


def evaluate(
    model: Paths,
    *,
    val: Paths | None = None,
    pairs: str | Path | None = None,
    images: str | Path | None = None,
    output: str | Path | None = None,
    backend: str = "onnx",
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: Sequence[int] | None = None,
    output_name: str | None = None,
    batch_size: int = 64,
    flip: bool = True,
    resize: bool = False,
    skip_bad: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
) -> EvaluationResults:
    """Measure accuracy over folds, AUC, EER and TAR at FAR on pairs of images.

    `model` and `val` are one or several; the options are those of `marginface evaluate`.

    Raises:
        MarginfaceError: a model, a set or the output cannot be used.
    """
    models, sets_given = _paths(model), _paths(val)
    pairs, images, output = (None if p is None else Path(p) for p in (pairs, images, output))
    with ExitStack() as held:
        if output is not None:
            require("report", "matplotlib")
            require("data", "pyarrow")
            refuse_among(output, images)
            inputs = [*models, *sets_given, pairs, images]
            claim = claimed_folder(output, METRICS_NAME, overwrite=overwrite, inputs=inputs)
            held.enter_context(claim)
        labels = distinct_labels(models, "model")
        sets = open_sets(sets_given, pairs, images, skip_bad=skip_bad)
        how: dict[str, Any] = {"mean": mean, "std": std, "channels": channels, "crop": crop}
        how |= {"backend": backend, "threads": threads, "output_name": output_name}
        embedders = [open_embedder(path, **how) for path in models]
        rows = tuple(
            Comparison.of(each, embeddings, known.model, known)
            for each, embeddings, known in embed_sets(
                labels, embedders, sets, batch_size=batch_size, flip=flip, resize=resize
            )
        )
        if output is None:
            return EvaluationResults(rows)
        with filling(output) as folder:
            single = len(rows) == 1
            written = write_single(rows[0], folder) if single else write_comparison(rows, folder)
        return EvaluationResults(rows, tuple(output / each.relative_to(folder) for each in written))


def _paths(given: Paths | None) -> list[Path]:
    if given is None:
        return []
    return [Path(given)] if isinstance(given, (str, Path)) else [Path(path) for path in given]
