"""Output to the terminal: the one place that makes rich's consoles."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from marginface.table_layout import UNBOUNDED, fitted
from marginface.text import printable

NOTEBOOK = 100  # columns
ROOMY = 80  # columns: in less, progress is shown without a bar


class Terminal(Console):
    """A console that prints every string as plain text, on one line, alone or in a table.

    It interprets no markup, emoji names or control characters. For style, pass a `rich.text.Text`.
    A pipe or a file has no width, unless COLUMNS says one.

    Args:
        stderr: print to standard error.
        soft_wrap: let the terminal break long lines.
        quiet: print nothing.
        options: what else rich's console takes, to print elsewhere.
    """

    def __init__(
        self,
        *,
        stderr: bool = False,
        soft_wrap: bool = False,
        quiet: bool = False,
        **options: Any,
    ) -> None:
        file = options.get("file") or (sys.stderr if stderr else sys.stdout)
        watched = file is not None and file.isatty()
        options = {"force_terminal": None if watched else False, **options}  # whatever FORCE_COLOR
        super().__init__(
            stderr=stderr, soft_wrap=soft_wrap, quiet=quiet, highlight=False, **options
        )
        if self.is_dumb_terminal:
            self.size = shutil.get_terminal_size()  # rich takes all of them to have 80 columns
        sized = "width" in options or os.environ.get("COLUMNS")
        if self.is_jupyter:
            self.width, self.soft_wrap = NOTEBOOK, False  # a long line would scroll there
        elif not watched and not sized:
            self.width = UNBOUNDED

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does, but a table so that it fits, with no number cut."""
        laid_out = (fitted(each, self) if isinstance(each, Table) else each for each in objects)
        super().print(*laid_out, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string for rich, escaped; every string for the terminal passes here."""
        shown = {
            name: options[name] for name in ("style", "justify", "overflow") if name in options
        }
        return Text(printable(text), **shown)


def say(console: Console, text: str) -> None:
    """Print a line of text on a console, which may be a caller's own."""
    console.print(Text(printable(text)), soft_wrap=not console.is_jupyter)
