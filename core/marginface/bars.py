"""Progress bars: rich's, and in a notebook one that changes in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from rich.console import Console
from rich.jupyter import JUPYTER_HTML_FORMAT
from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, TaskID, TextColumn

from marginface.terminal import NOTEBOOK, Terminal

PERIOD = 0.25  # seconds between two states that a notebook shows


def progress_bar(*columns: ProgressColumn, console: Console, **options: Any) -> Progress:
    """Return rich's `Progress`, or in a notebook one that shows itself there."""
    kind = NotebookProgress if console.is_jupyter else Progress
    return kind(*columns, console=console, **options)


@contextmanager
def counting(what: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show how many of all are done, for as long as it takes; yield the function to say it to."""
    bar = progress_bar(
        TextColumn(what),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not (console.is_interactive or console.is_jupyter),
    )
    with moving(bar, what) as show:
        yield show


@contextmanager
def moving(bar: Progress, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar from its first progress on: an error before that is the one thing to see.

    Args:
        bar: not started.
        what: is counted; yields the function to call with how many are done, and of how many.
    """
    task, started = bar.add_task(what, total=None), False

    def show(done: int, total: int) -> None:
        nonlocal started
        bar.update(task, completed=done, total=total)
        if not started:
            bar.start()
            started = True

    try:
        yield show
    finally:
        if started:
            bar.stop()


class NotebookProgress(Progress):
    """Shows its state as an output of the cell, and updates that; rich's own needs ipywidgets."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        super().__init__(*columns, **options)
        self._started = False
        self._shown: Any = None
        self._shown_at = 0.0

    def start(self) -> None:
        """Show the bar."""
        self._started = True
        self.refresh()

    def stop(self) -> None:
        """Show the last state."""
        self.refresh()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a task, and what is shown unless that was just now."""
        super().update(task_id, **changes)
        if self._shown is not None and time.monotonic() > self._shown_at + PERIOD:
            self.refresh()

    def refresh(self) -> None:
        """Show the state, if the bar was started: rich calls this for each new task, too."""
        if not self._started:
            return
        from IPython import display

        recorder = Terminal(file=StringIO(), width=NOTEBOOK, record=True, force_jupyter=False)
        recorder.print(self.get_renderable())
        text = recorder.export_text(clear=False).rstrip()
        html = recorder.export_html(inline_styles=True, code_format=JUPYTER_HTML_FORMAT)
        state = {"text/plain": text, "text/html": html}
        if self._shown is None:
            self._shown = display.display(state, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._shown.update(state, raw=True)
        self._shown_at = time.monotonic()
