"""What the commands that evaluate embeddings share: their options, and metrics.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from marginface.deployment.embedding_origin import Origin
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


def check_output(output: Path | None) -> None:
    """Raise if `output` is given and cannot be a folder, before the work."""
    from marginface.evaluation.report import check_output_dir

    if output is not None:
        check_output_dir(output)


def open_origin(embeddings: list[Path]) -> Origin | None:
    """Return what made all of the files; say on stderr which of them do not tell.

    Raises:
        MarginfaceError: a file cannot be read, or two were made by different models.
    """
    from marginface.deployment.embedding_origin import common_origin
    from marginface.deployment.embedding_reader import read_origins

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


def write_metrics(output: Path | None, metrics: dict[str, Any], console: Terminal) -> None:
    """Write metrics.json to the folder `output`, if it is given, and say so."""
    from marginface.atomic import replacing
    from marginface.evaluation.report import METRICS_NAME

    if output is None:
        return
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / METRICS_NAME) as temporary:
        temporary.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    console.print(f"wrote {output / METRICS_NAME}", soft_wrap=True)
