"""Output to the terminal: the one place that makes rich's consoles."""

from __future__ import annotations

from typing import IO, Any

from rich.console import Console
from rich.measure import measure_renderables
from rich.table import Table
from rich.text import Text

from marginface.text import printable

NOTEBOOK = 100  # columns
UNBOUNDED = 10_000  # columns: more than any cell has


class Terminal(Console):
    """A console that prints every string as plain text, on one line, alone or in a table.

    It interprets no markup, emoji names or control characters. For style, pass a `rich.text.Text`.

    Args:
        stderr: print to standard error.
        soft_wrap: let the terminal break long lines.
        quiet: print nothing.
        file: print to it as to no terminal, without colours, in a notebook too.
    """

    def __init__(
        self,
        *,
        stderr: bool = False,
        soft_wrap: bool = False,
        quiet: bool = False,
        file: IO[str] | None = None,
    ) -> None:
        terminal = None if file is None else False
        super().__init__(
            stderr=stderr,
            soft_wrap=soft_wrap,
            quiet=quiet,
            highlight=False,
            file=file,
            force_terminal=terminal,
            force_jupyter=terminal,
        )
        if self.is_jupyter:
            self.width, self.soft_wrap = NOTEBOOK, False  # a long line would scroll there

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does, but a table rather wider than the terminal than with cut numbers."""
        width = self.width
        for table in objects:
            if isinstance(table, Table):
                self.width = max(self.width, self._least_width(table))
                options["crop"] = False  # rich may still make it somewhat wider
        try:
            super().print(*objects, **options)
        finally:
            self.width = width

    def _least_width(self, table: Table) -> int:
        """Hold columns of numbers, which stand at the right, and of short names at full width."""
        unbounded = self.options.update(max_width=UNBOUNDED)
        for column in table.columns:
            if column.justify == "right" or column.no_wrap:
                folds_header = column.overflow == "fold"  # the name of a set, say
                cells = [*column.cells] if folds_header else [column.header, *column.cells]
                texts = [self.render_str(cell) if isinstance(cell, str) else cell for cell in cells]
                column.min_width = measure_renderables(self, unbounded, texts).maximum
            else:
                column.overflow = "fold"  # a text goes on in the next line, whole
        return self.measure(table, options=unbounded).minimum

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string for rich, escaped; every string for the terminal passes here."""
        shown = {
            name: options[name] for name in ("style", "justify", "overflow") if name in options
        }
        return Text(printable(text), **shown)


def say(console: Console, text: str) -> None:
    """Print a line of text on a console, which may be a caller's own."""
    console.print(Text(printable(text)), soft_wrap=not console.is_jupyter)
