"""Options and metrics.json of the commands that evaluate embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from marginface.embeddings.origin import Origin
    from marginface.evaluation.identification import IdentificationResult
    from marginface.terminal import Terminal

Embeddings = Annotated[
    list[Path],
    typer.Option(
        "--embeddings",
        help="What `marginface embed` wrote: .parquet or .npz; again for more files of one model.",
    ),
]
Output = Annotated[Path | None, typer.Option("--output", help="Folder for metrics.json.")]


def open_origin(embeddings: list[Path]) -> Origin | None:
    """Return the common origin of all files; name on stderr those that do not record theirs.

    Raises:
        MarginfaceError: a file cannot be read, or two were made by different models.
    """
    from marginface.embeddings.origin import common_origin
    from marginface.embeddings.reader import read_origins

    origins = read_origins(embeddings)
    origin = common_origin(origins)
    silent = [str(path) for path, known in origins.items() if known is None]
    if silent:
        told = "do not say" if len(silent) > 1 else "does not say"
        _note(
            f"{', '.join(silent)} {told} which model made the embeddings; they are taken to be of "
            f"{'one model' if origin is None else 'the model of the others'}"
        )
    return origin


def note_missing_mates(results: Mapping[str, IdentificationResult]) -> None:
    """Say on stderr which galleries no probe's subject is in: there is FPIR alone."""
    for name, each in results.items():
        if each.non_mated and not each.mated:
            _note(
                f"none of {each.non_mated:,} probes shows one of the {each.subjects:,} subjects of "
                f"gallery {name}, so there is FPIR alone; if some should, do both name their "
                "subjects alike?"
            )


def _note(text: str) -> None:
    from marginface.terminal import Terminal

    Terminal(stderr=True, soft_wrap=True).print(f"marginface: note: {text}")


def write_metrics(
    output: Path | None,
    metrics: dict[str, Any],
    console: Terminal,
    write_more: Callable[[Path], Path] | None = None,
) -> None:
    """Write metrics.json, and what `write_more` writes, to the folder `output`, if it is given."""
    from marginface.evaluation.output import METRICS_NAME
    from marginface.outputs import filling

    if output is None:
        return
    with filling(output) as folder:
        written = [folder / METRICS_NAME]
        written[0].write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
        if write_more is not None:
            written.append(write_more(folder))
    for path in written:
        console.print(f"wrote {output / path.name}", soft_wrap=True)
