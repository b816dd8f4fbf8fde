"""The terminal: the one place that makes rich's consoles."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from marginface.text import printable


class Terminal(Console):
    """A console that shows a string, alone or in a table, as one line of text and nothing more.

    No markup, no emoji, no control character in it counts. Style comes with a `rich.text.Text`.

    Args:
        stderr: print to standard error.
        soft_wrap: leave it to the terminal to break long lines.
        quiet: print nothing.
    """

    def __init__(
        self, *, stderr: bool = False, soft_wrap: bool = False, quiet: bool = False
    ) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, quiet=quiet, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as rich shows it: this is the way of all strings to the terminal."""
        shown = {
            name: options[name] for name in ("style", "justify", "overflow") if name in options
        }
        return Text(printable(text), **shown)


def say(console: Console, text: str) -> None:
    """Print a line of text on a console, which may be a caller's own."""
    console.print(Text(printable(text)), soft_wrap=True)
