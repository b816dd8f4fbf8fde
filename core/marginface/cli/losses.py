"""`marginface losses`: what there is, what each computes, and how they compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marginface.cli.output_options import Overwrite, claim_file

if TYPE_CHECKING:
    from marginface.losses.describe import Description
    from marginface.terminal import Terminal


def losses(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(help="Explain this one, of your own: module:Class; list all without."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", help="PNG to draw: target logits, gradients and decision boundaries."
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """List the losses, explain one, or draw them."""
    from marginface.losses import load
    from marginface.losses.describe import describe
    from marginface.losses.registry import usable
    from marginface.terminal import Terminal

    console = Terminal()
    if name is not None:
        load(name)
    chosen = usable() if name is None else [name]
    described = [describe(each) for each in chosen]
    if plot is not None:
        from marginface.losses.plot import check_plot, write_plot

        check_plot(plot)
        claim_file(context, plot, overwrite=overwrite)
        write_plot(chosen, plot)
        console.print(f"wrote {plot}", soft_wrap=True)
    elif name is None:
        _list(console, described)
    else:
        _explain(console, described[0])


def _list(console: Terminal, described: list[Description]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("loss", no_wrap=True)
    table.add_column("parameters and defaults", ratio=3)
    table.add_column("source", ratio=1)
    for loss in described:
        parameters = ", ".join(f"{p.name}={_short(p.default)}" for p in loss.parameters)
        table.add_row(loss.name, parameters, loss.source)
    console.print(table)
    console.print("marginface losses NAME explains one.", soft_wrap=True)


def _explain(console: Terminal, loss: Description) -> None:
    from rich.box import SIMPLE
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console.print(Text.assemble((loss.title, "bold"), f": {loss.summary}"))
    if loss.source:
        console.print(f"Source: {loss.source}")
    console.print()
    for line in loss.formula:
        console.print(Padding(line, (0, 4)))
    for note in loss.notes:
        console.print()
        console.print(Text(note))
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for column in ("parameter", "default", "must be", "meaning"):
        table.add_column(column)
    for p in loss.parameters:
        table.add_row(p.name, _short(p.default), p.allowed, p.meaning)
    console.print(table)
    if loss.divergences:
        console.print("In the wild:")
        for item in loss.divergences:
            table = Table.grid(padding=(0, 1))
            table.add_row(" -", item)
            console.print(table)
        console.print()
    console.print(f"Train with it: {_example(loss)}", soft_wrap=True)


def _example(loss: Description) -> str:
    """Return a command that sets parameters; scale and margin have options of their own."""
    with_option = [p for p in loss.parameters if p.name in ("scale", "margin")]
    without_option = [p for p in loss.parameters if p.name not in ("scale", "margin")]
    options = [f"--{p.name} {_short(p.default)}" for p in with_option]
    if without_option:
        pairs = ",".join(f"{p.name}={_short(p.default)}" for p in without_option[:2])
        options.append(f"--loss-parameters {pairs}")
    return " ".join([f"marginface train --loss {loss.name}", *options])


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
