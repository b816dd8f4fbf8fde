"""What the commands that evaluate embeddings share: their options, and metrics.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

Embeddings = Annotated[
    Path, typer.Option("--embeddings", help="What `marginface embed` wrote: .parquet or .npz.")
]
Output = Annotated[Path | None, typer.Option("--output", help="Folder for metrics.json.")]


def claim_output(context: typer.Context, output: Path | None) -> None:
    """Be the one command that writes its metrics.json to the folder `output`, if it is given.

    Before the work, and until the command ends: the files there belong together.
    """
    from marginface.evaluation.report import METRICS_NAME, check_output_dir
    from marginface.locking import sole_writer

    if output is not None:
        check_output_dir(output)
        context.with_resource(sole_writer(output / METRICS_NAME))


def write_metrics(output: Path | None, metrics: dict[str, Any], console: Console) -> None:
    """Write metrics.json to the folder `output`, if it is given, and say so."""
    from marginface.atomic import replacing
    from marginface.evaluation.report import METRICS_NAME

    if output is None:
        return
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / METRICS_NAME) as temporary:
        temporary.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    console.print(f"wrote {output / METRICS_NAME}", soft_wrap=True, markup=False)
