"""Output to the terminal: the one place that makes rich's consoles."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from marginface.text import printable


class Terminal(Console):
    """A console that prints every string as plain text, on one line, alone or in a table.

    It interprets no markup, emoji names or control characters. For style, pass a `rich.text.Text`.

    Args:
        stderr: print to standard error.
        soft_wrap: let the terminal break long lines.
        quiet: print nothing.
    """

    def __init__(
        self, *, stderr: bool = False, soft_wrap: bool = False, quiet: bool = False
    ) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, quiet=quiet, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string for rich, escaped; every string for the terminal passes here."""
        shown = {
            name: options[name] for name in ("style", "justify", "overflow") if name in options
        }
        return Text(printable(text), **shown)


def say(console: Console, text: str) -> None:
    """Print a line of text on a console, which may be a caller's own."""
    console.print(Text(printable(text)), soft_wrap=True)
