"""A table as text, and as a notebook shows it."""

from __future__ import annotations

from html import escape
from io import StringIO
from shutil import get_terminal_size

from rich.table import Table
from rich.text import Text

from marginface.terminal import NOTEBOOK, Terminal
from marginface.text import printable


def as_text(table: Table) -> str:
    """Return a table as lines of text for the terminal, without colours."""
    file = StringIO()
    width = get_terminal_size((NOTEBOOK, 0)).columns
    Terminal(file=file, width=width, force_jupyter=False).print(table)
    return file.getvalue().rstrip()


def as_html(table: Table) -> str:
    """Return a table as HTML, in which names are text."""
    columns = table.columns
    caption = f"<caption>{_inside(table.title)}</caption>" if table.title else ""
    head = "".join(f"<th>{_inside(column.header)}</th>" for column in columns)
    rows = (
        "".join(
            f'<td style="text-align: {column.justify}; white-space: pre">{_inside(cell)}</td>'
            for column, cell in zip(columns, cells, strict=True)
        )
        for cells in zip(*(column.cells for column in columns), strict=True)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    note = f"<p>{_inside(table.caption)}</p>" if table.caption else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _inside(cell: object) -> str:
    lines = cell.plain.split("\n") if isinstance(cell, Text) else [str(cell)]
    return "<br>".join(escape(printable(line)) for line in lines)
