"""What the commands that evaluate embeddings share: their options, and metrics.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from marginface.terminal import Terminal

Embeddings = Annotated[
    Path, typer.Option("--embeddings", help="What `marginface embed` wrote: .parquet or .npz.")
]
Output = Annotated[Path | None, typer.Option("--output", help="Folder for metrics.json.")]


def check_output(output: Path | None) -> None:
    """Raise if `output` is given and cannot be a folder, before the work."""
    from marginface.evaluation.report import check_output_dir

    if output is not None:
        check_output_dir(output)


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
