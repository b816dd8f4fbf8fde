"""A progress bar over images, on stderr, and what Ctrl-C leaves of the work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def image_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yield the function to call with (images done, images in all)."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column
    from rich.text import Text

    from marginface.bars import moving, progress_bar
    from marginface.terminal import ROOMY, Terminal
    from marginface.text import printable

    class ImagesPerSecond(ProgressColumn):
        def render(self, task: Task) -> Text:
            """Return the speed, empty until there is one."""
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} images/s")

    console = Terminal(stderr=True)
    label = TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold"))
    counts = MofNCompleteColumn(table_column=Column(no_wrap=True))
    speed = ImagesPerSecond(table_column=Column(no_wrap=True))
    left = TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(no_wrap=True))
    roomy = console.width >= ROOMY
    drawn = [BarColumn()] if roomy and (console.is_interactive or console.is_jupyter) else []
    bar = progress_bar(label, *drawn, counts, *[speed] * roomy, left, console=console)
    with moving(bar, printable(description)) as show:
        yield show


@contextmanager
def saying_how_to_go_on(kept: Path | None = None) -> Iterator[None]:
    """Say at Ctrl-C that the same command goes on; only if `kept` is there, where it is given."""
    try:
        yield
    except KeyboardInterrupt:
        if kept is None or kept.exists():
            print(
                "marginface: what is done is kept; the same command goes on from there",
                file=sys.stderr,
            )
        raise
