"""`marginface info`: what a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def info(
    model: Annotated[
        Path, typer.Argument(help="A run folder, a model folder, an .onnx or a file of weights.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a model is: its network, preprocessing, loss, and what is stated about it."""
    import json

    from rich.table import Table

    from marginface.api.info import info
    from marginface.terminal import Terminal

    found = info(model)
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
        return
    table = Table("what", "it says")
    for what, value in found.rows().items():
        table.add_row(what, value)
    Terminal().print(table)
