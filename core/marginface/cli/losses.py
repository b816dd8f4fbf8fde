"""`marginface losses`: what there is, what each computes, and how they compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marginface.cli.output_options import Overwrite, claim_file
from marginface.errors import MarginfaceError

if TYPE_CHECKING:
    from marginface.losses.describe import Description
    from marginface.terminal import Terminal


def losses(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Losses to explain, or module:Class; without a name, list all.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            help="PNG to draw: logits, gradients and decision boundaries; of several losses that "
            "are named, targets and negatives side by side.",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """List the losses, explain some, or draw them."""
    from marginface.losses import load
    from marginface.losses.describe import describe
    from marginface.losses.registry import usable
    from marginface.tables.losses import losses_table
    from marginface.terminal import Terminal

    console = Terminal()
    named = names or []
    for name in named:
        if named.count(name) > 1:
            raise MarginfaceError(f"the loss {name} is named twice; name each once")
        load(name)
    chosen = named or usable()
    described = [describe(each) for each in chosen]
    if plot is not None:
        from marginface.losses.plot import check_plot, write_plot

        check_plot(plot)
        claim_file(context, plot, overwrite=overwrite)
        write_plot(chosen, plot, side_by_side=len(named) > 1)
        console.print(f"wrote {plot}", soft_wrap=True)
    elif not named:
        console.print(losses_table(described))
        console.print("marginface losses NAME explains one.", soft_wrap=True)
    else:
        for each in described:
            _explain(console, each)


def _explain(console: Terminal, loss: Description) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from marginface.losses.describe import ARXIV
    from marginface.tables.losses import parameters_table

    console.print(Text.assemble((loss.title, "bold"), f": {loss.summary}"))
    if loss.source:
        source = ARXIV.sub(lambda number: f"arXiv {number[0]}", loss.source)
        console.print(f"Source: {source}")
    console.print()
    for line in loss.formula:
        console.print(Padding(line, (0, 0, 0, 4), expand=False))
    for note in loss.notes:
        console.print()
        console.print(Text(note))
    console.print()
    console.print(parameters_table(loss))
    if loss.divergences:
        console.print("In the wild:")
        for item in loss.divergences:
            console.print(f"- {item}")
        console.print()
    console.print(f"Train with it: {_example(loss)}", soft_wrap=True)


def _example(loss: Description) -> str:
    """Return a command that sets parameters; scale and margin have options of their own."""
    from marginface.tables.losses import short

    with_option = [p for p in loss.parameters if p.name in ("scale", "margin")]
    without_option = [p for p in loss.parameters if p.name not in ("scale", "margin")]
    options = [f"--{p.name} {short(p.default)}" for p in with_option]
    if without_option:
        pairs = ",".join(f"{p.name}={short(p.default)}" for p in without_option[:2])
        options.append(f"--loss-parameters {pairs}")
    return " ".join([f"marginface train --loss {loss.name}", *options])
