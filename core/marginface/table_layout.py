"""Fit a table to the width of a terminal, with every number whole.

Where the width is unbounded (a pipe, a file), a row is one line. In a terminal that is too narrow
for that, headers and texts go on in further lines of their cell; where this does not do either,
each row becomes a record of `name: value` lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Column, Table
from rich.text import Text

from marginface.text import printable

UNBOUNDED = 10_000  # columns: more than any row has
GAP = 2  # between columns
LEAST_TEXT = 12  # columns: in less a text would be torn into syllables
INDENT = 2  # of the values of a record
LEAST_RECORD = 16  # columns: less would cut a number


def fitted(table: Table, console: Console) -> Group:
    """Lay out a table's title, rows and caption in the width of a console.

    Cells are strings or `rich.text.Text`. Columns at the right are numbers and are never broken,
    nor are those with `no_wrap`; a cell of several lines is one of several values.
    """
    title = _text(table.title or "", style="bold")
    caption = _text(table.caption or "", style="dim italic")
    columns = [_Cells.of(column) for column in table.columns]
    if console.width >= UNBOUNDED:
        columns = [each.on_one_line() for each in columns]
    widths = _widths(columns, console.width - GAP * (len(columns) - 1))
    rows = _records(columns, console) if widths is None else [_grid(columns, widths)]
    return Group(*[title] * bool(title), *rows, *[caption] * bool(caption), Text())


@dataclass(frozen=True)
class _Cells:
    """A column.

    Args:
        header: its name, or none.
        cells: of all rows.
        whole: whether cells must not be broken.
        at_right: whether they are numbers.
    """

    header: Text
    cells: Sequence[Text]
    whole: bool
    at_right: bool

    @classmethod
    def of(cls, column: Column) -> _Cells:
        at_right = column.justify == "right"
        cells = [_text(cell) for cell in column.cells]
        return cls(_text(column.header), cells, at_right or column.no_wrap, at_right)

    def on_one_line(self) -> _Cells:
        cells = [_joined(cell) for cell in self.cells]
        return _Cells(_joined(self.header), cells, self.whole, self.at_right)

    def width(self) -> int:
        """Return the width at which nothing is broken."""
        return max(map(_longest_line, [self.header, *self.cells]))

    def least_width(self) -> int:
        """Return the width below which a number or a word of the header would be broken."""
        of_cells = [(_longest_line if self.whole else _least_text)(cell) for cell in self.cells]
        return max([_least_text(self.header), *of_cells])


def _widths(columns: Sequence[_Cells], room: int) -> list[int] | None:
    """Return each column's width, or None if there is not enough room."""
    widths, least = ([each.width() for each in columns], [each.least_width() for each in columns])
    if sum(least) > room:
        return None
    while sum(widths) > room:
        _, widest = max((w, at) for at, w in enumerate(widths) if w > least[at])
        widths[widest] -= 1
    return widths


def _grid(columns: Sequence[_Cells], widths: Sequence[int]) -> Table:
    grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        grid.add_column(
            column.header,
            justify="right" if column.at_right else "left",
            width=width,
            overflow="fold",
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        grid.add_row(*row)
    return grid


def _records(columns: Sequence[_Cells], console: Console) -> Iterator[Text]:
    """Yield the lines of each row: its first cell, and the others indented.

    A value whose column has no header, or is the only other one, stands beside the first cell.
    """
    first, *others = columns
    for at, name in enumerate(first.cells):
        indent = len(name.plain) - len(name.plain.lstrip())
        head = Text(name.plain.strip(), "bold")
        lines: list[Text] = []
        for column in others:
            label, value = _joined(column.header), _joined(column.cells[at])
            if value and head and not lines and (not label or len(others) == 1):
                head = Text.assemble(head, ": ", value)
            elif value:
                lines.append(Text.assemble(label, ": " if label else "", value))
        yield from _hanging(head, indent, console)
        for line in lines:
            yield from _hanging(line, indent + INDENT, console)


def _hanging(text: Text, indent: int, console: Console) -> Iterator[Text]:
    """Yield the lines of a text, the first with an indent, the others with a deeper one."""
    width = max(console.width - indent - INDENT, LEAST_RECORD)
    for at, line in enumerate(text.wrap(console, width, overflow="fold")):
        yield Text(" " * (indent + INDENT * (at > 0))).append_text(line)


def _text(cell: object, style: str = "") -> Text:
    return cell.copy() if isinstance(cell, Text) else Text(printable(str(cell)), style=style)


def _joined(cell: Text) -> Text:
    lines = cell.split("\n")
    return lines[0] if len(lines) == 1 else Text(", ").join(lines)


def _longest_line(text: Text) -> int:
    return _longest(text.plain.splitlines())


def _least_text(text: Text) -> int:
    return min(_longest(text.plain.split()), LEAST_TEXT)


def _longest(parts: Iterable[str]) -> int:
    return max(map(cell_len, parts), default=0)
