"""`marginface.evaluate`: verification of models on pairs of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from rich.table import Table

from marginface.api.claims import claimed_folder
from marginface.api.models import Model, open_model
from marginface.api.scoring import check_norms, score_choice
from marginface.api.verifying import embed_sets, open_sets
from marginface.calling import public
from marginface.cards.hub import fetched
from marginface.checks import as_path
from marginface.errors import MarginfaceError
from marginface.evaluation.comparison import Comparison, write_comparison, write_single
from marginface.evaluation.groups import read_groups
from marginface.evaluation.output import METRICS_NAME
from marginface.extras import require
from marginface.labels import distinct_labels
from marginface.model import Resize
from marginface.outputs import filling, refuse_among
from marginface.tables.groups import groups_table
from marginface.tables.showing import as_html, as_text
from marginface.tables.verification import comparison_table, single_table

if TYPE_CHECKING:
    from marginface.evaluation.drawing import Drawing

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True, repr=False)
class EvaluationResults(Sequence[Comparison]):
    """Each model on each set, one after the other; shows itself as `marginface evaluate` does.

    Args:
        rows: one a model and set.
        written: files and folders that were written.
    """

    rows: tuple[Comparison, ...]
    written: tuple[Path, ...] = ()

    @overload
    def __getitem__(self, at: int) -> Comparison: ...
    @overload
    def __getitem__(self, at: slice) -> EvaluationResults: ...
    def __getitem__(self, at: int | slice) -> Comparison | EvaluationResults:
        return EvaluationResults(self.rows[at]) if isinstance(at, slice) else self.rows[at]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Return a dict of figures for each model and set: accuracy, auc, eer, tar_at_far..."""
        return [row.to_json() for row in self.rows]

    def table(self) -> Table:
        """Build the table of the figures."""
        if not self.rows:
            return Table(title="Verification of nothing")
        return single_table(self.rows[0]) if len(self) == 1 else comparison_table(self.rows)

    def group_table(self) -> Table:
        """Build the table of the figures by group; it has rows where `groups` were given."""
        return groups_table(self.rows)

    def plot(self) -> Drawing:
        """Draw the ROC, of one model on one set beside its histograms of scores.

        Raises:
            MarginfaceError: there are no results, or matplotlib is not installed.
        """
        if not self.rows:
            raise MarginfaceError("there is nothing to draw: no results")
        from marginface.evaluation.curves import draw, draw_rocs  # matplotlib

        if len(self) == 1:
            row = self.rows[0]
            return draw(row.result, row.pair_scores.scores, row.pairs.same, row.score)
        return draw_rocs(
            [
                (
                    f"{row.model}, {row.pairs.name}",
                    row.result,
                    row.pair_scores.scores,
                    row.pairs.same,
                )
                for row in self.rows
            ]
        )

    def __repr__(self) -> str:
        return as_text(self.table())

    def _repr_html_(self) -> str:
        return as_html(self.table())


@public
def evaluate(
    model: Paths | Model | Sequence[str | Path | Model],
    *,
    val: Paths | None = None,
    pairs: str | Path | None = None,
    images: str | Path | None = None,
    output: str | Path | None = None,
    backend: str = "onnx",
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: str | Sequence[int] | None = None,
    output_name: str | None = None,
    checkpoint: str | int | None = None,
    batch_size: int = 64,
    flip: bool = True,
    resize: Resize = False,
    skip_bad: bool = False,
    groups: str | Path | None = None,
    score: str = "cosine",
    score_parameters: str | Mapping[str, Any] | None = None,
    score_fit: str | Path | None = None,
    overwrite: bool = False,
    provider: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> EvaluationResults:
    """Measure accuracy over folds, AUC, EER and TAR at FAR on pairs of images.

    Args:
        model: a run folder or an ONNX file, what `load` returned, or several of these.
        val: one or several verification sets: .bin, container, CFP's Split/FP or FF.
        pairs: a list of pairs of `images`, such as LFW's.
        images: the aligned face images that the list names: a folder, .rec or .tfrecord.
        output: folder for metrics.json, verification.png and scores.parquet; none for None.
        backend: what runs the network: "onnx", or for a run "torch" or "tf".
        mean: subtracted from pixels (0..255), one number or three; the model's own for None.
        std: divides pixels after the mean; the model's own for None.
        channels: channel order of the network, "rgb" or "bgr"; the model's own for None.
        crop: (top, left, height, width) in pixels that is cut out of each image.
        output_name: output of an ONNX file that is the embedding; by its shape for None.
        checkpoint: of a run: "best" (of `keep_best`), "last" or a step; the last for None.
        batch_size: images in one batch.
        flip: sum the embeddings of an image and of its mirror image.
        resize: scale images of another size instead of refusing them: True as in training, else
            "fit", "letterbox" or "squeeze".
        skip_bad: leave out pairs with missing or broken images; count them by fold.
        groups: a CSV file with columns person (or image) and group, for figures by group.
        score: of a pair: "cosine", or "qmagface", which takes the norms as quality.
        score_parameters: of qmagface: alpha and beta; or fit_on ("sigmoid" or "score") of its fit.
        score_fit: a verification set, of other pairs than those measured, that each model's alpha
            and beta are fitted on.
        overwrite: replace an existing `output` that marginface wrote.
        provider: what ONNX Runtime computes on: "auto", "cpu", "cuda" or another that it has.
        device: what a framework computes on, if it is the backend: "auto", "cpu", "cuda"...
        threads: CPU threads; all for None.

    Raises:
        MarginfaceError: a model, a set or the output cannot be used.
    """
    given = _several(model, "model")
    sets_given = [] if val is None else [as_path("val", each) for each in _several(val, "val")]
    models = [
        each.path if isinstance(each, Model) else fetched(as_path("model", each)) for each in given
    ]
    listed, shown, target, grouped = (
        None if path is None else as_path(name, path)
        for name, path in (
            *(("pairs", pairs), ("images", images), ("output", output), ("groups", groups)),
        )
    )
    table = None if grouped is None else read_groups(grouped)
    choice = score_choice(score, score_parameters, score_fit)
    choice.check_sets([*sets_given, listed])
    with ExitStack() as held:
        if target is not None:
            require("report", "matplotlib")
            require("data", "pyarrow")
            refuse_among(target, shown)
            inputs = [*models, *sets_given, listed, shown, grouped, choice.fit_set]
            claim = claimed_folder(target, METRICS_NAME, overwrite=overwrite, inputs=inputs)
            held.enter_context(claim)
        labels = distinct_labels(models, "model")
        measured = bool(sets_given) or listed is not None  # without any, open_sets says so
        fit_sets = [choice.fit_set] if measured and choice.fit_set is not None else []
        sets = open_sets([*fit_sets, *sets_given], listed, shown, skip_bad=skip_bad)
        fit = sets[0] if fit_sets else None
        if fit is not None:
            choice.check_pairs(fit, sets[1:])
        how: dict[str, Any] = {"mean": mean, "std": std, "channels": channels, "crop": crop}
        how |= {"backend": backend, "threads": threads, "output_name": output_name}
        how |= {"checkpoint": checkpoint, "provider": provider, "device": device}
        embedders = [open_model(each, **how).embedder for each in given]
        rows: list[Comparison] = []
        chosen = choice.given
        for each, embeddings, known in embed_sets(
            labels, embedders, sets, batch_size=batch_size, flip=flip, resize=resize
        ):
            if each is fit:  # the first of each model's
                chosen = choice.fitted(each, embeddings, known)
                continue
            if chosen is not None:
                check_norms(known)
            scored = replace(known, score=chosen)
            rows.append(Comparison.of(each, embeddings, known.model, scored, table))
        if target is None:
            return EvaluationResults(tuple(rows))
        with filling(target) as folder:
            single = len(rows) == 1
            written = write_single(rows[0], folder) if single else write_comparison(rows, folder)
        return EvaluationResults(
            tuple(rows), tuple(target / each.relative_to(folder) for each in written)
        )


def _several(given: Any, name: str) -> list[Any]:
    """Return one or several models or sets as a list."""
    several = list(given) if isinstance(given, (list, tuple)) else [given]
    if not several:
        raise MarginfaceError(f"{name} is an empty list; give at least one")
    return several
