"""`marginface parity`: the losses of the installed frameworks against the spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli.model_options import OwnDevice
from marginface.cli.output_options import Overwrite, claim_file


def parity(
    context: typer.Context,
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BACKEND]...", help="More backends: --backend torch tf."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", help="torch | tf; default: what is installed."),
    ] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(
            "--loss", help="A loss's name, or module:Class; repeat for more; default: all."
        ),
    ] = None,
    device: OwnDevice = "auto",
    page: Annotated[
        Path | None,
        typer.Option("--report", help="Markdown file to write, with a heat map beside it."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare values, gradients and states of losses with the float64 reference."""
    from rich.progress import track

    from marginface import losses
    from marginface.backend import installed_backends, load_backend
    from marginface.checks import check_distinct
    from marginface.losses.registry import usable
    from marginface.losses.tensor_code import check_runs_in, left_out, runs_in
    from marginface.outputs import check_file
    from marginface.parity import DTYPES, broken, compare
    from marginface.parity.page import check_page, pairs, write_page
    from marginface.tables.parity import parity_table
    from marginface.terminal import Terminal

    if page is not None:
        check_page(page)
        check_file(page.with_suffix(".png"), overwrite=overwrite)
        claim_file(context, page, overwrite=overwrite)
    chosen = [losses.load(name).name for name in loss or usable()]
    check_distinct("loss", chosen)
    named = [*(backend or []), *(more or [])]
    check_distinct("backend", named)
    backends = {name: load_backend(name) for name in named or installed_backends()}
    for name in named:
        for each in chosen:
            check_runs_in(each, name)
    of_loss = {
        each: {name: backend for name, backend in backends.items() if runs_in(each, name)}
        for each in chosen
    }
    cases = [(name, dtype) for name in chosen for dtype in DTYPES]
    progress = Terminal(stderr=True)
    hidden = not progress.is_interactive
    rows = [
        row
        for name, dtype in track(
            cases, "Comparing", console=progress, transient=True, disable=hidden
        )
        for row in compare(name, dtype, of_loss[name], device=device)
    ]
    console = Terminal()
    for line in left_out(chosen, backends):
        console.print(line, soft_wrap=True)
    for pair in pairs(rows):
        console.print(parity_table(rows, pair))
    if page is not None:
        frameworks = [each.version() for each in backends.values()]
        picture = write_page(rows, frameworks, page)
        console.print(f"wrote {page} and {picture}", soft_wrap=True)
    beyond = broken(rows)
    if beyond:
        worst = beyond[0]
        console.print(
            f"{len(beyond)} of {len(rows)} comparisons are beyond tolerance; the worst: "
            f"{worst.quantity} of {worst.case}, {worst.dtype}, {worst.pair[0]} against "
            f"{worst.pair[1]}: {worst.error:.1e}, allowed {worst.allowed:.0e}",
            soft_wrap=True,
        )
        raise typer.Exit(1)
    console.print(f"all {len(rows)} comparisons are within tolerance")
