"""`marginface demo`: everything once, on drawn faces."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from marginface.cli.model_options import OwnDevice
from marginface.cli.output_options import Overwrite
from marginface.cli.waiting import wait_without_spinning


def demo(
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="Framework: torch or tf; default: the one that is installed, torch if both are.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder to create; default: demo-BACKEND, numbered."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of faces, weights and batches."),
    ] = 0,
    device: OwnDevice = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Draw faces, train on them, verify before and after, export, and write a page about it."""
    wait_without_spinning()

    from rich.text import Text

    from marginface.backend import default_backend
    from marginface.demo.run import run_demo
    from marginface.report.page import PAGE_NAME
    from marginface.terminal import Terminal

    backend = backend or default_backend()
    default = f"demo-{backend}"
    folder = output or (Path(default) if overwrite else free_folder(default))
    started = time.monotonic()
    found = run_demo(folder, backend=backend, seed=seed, device=device, overwrite=overwrite)
    console = Terminal(soft_wrap=True)
    console.print()
    console.print(
        "verification accuracy on people not trained on:",
        Text(f"{found.before:.1%} before, {found.after:.1%} after", "bold"),
        "training",
    )
    console.print(f"exported {found.export}: within {found.difference:.1e} of the framework")
    console.print(f"took {time.monotonic() - started:.0f} s; look at {folder / PAGE_NAME}")


def free_folder(name: str) -> Path:
    """Return the first of name, name-2, name-3 ... that does not exist."""
    folder, number = Path(name), 1
    while folder.exists():
        number += 1
        folder = Path(f"{name}-{number}")
    return folder
