"""--overwrite, and the claim of a command on its output: checked before the work, then locked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace an existing output: a file, or a folder that marginface wrote."
    ),
]


def claim_file(
    context: typer.Context,
    path: Path | None,
    *,
    overwrite: bool,
    inputs: Iterable[Path | None] = (),
) -> None:
    """Claim a file, if it is given, until the command ends; raises as `check_file`."""
    from marginface.api.claims import claimed_file

    if path is not None:
        context.with_resource(claimed_file(path, overwrite=overwrite, inputs=inputs))


def claim_folder(
    context: typer.Context,
    folder: Path | None,
    name: str,
    *,
    overwrite: bool,
    inputs: Iterable[Path | None] = (),
) -> None:
    """Claim a folder, if it is given, by the lock of a file in it; raises as `check_folder`."""
    from marginface.api.claims import claimed_folder

    if folder is not None:
        context.with_resource(claimed_folder(folder, name, overwrite=overwrite, inputs=inputs))
