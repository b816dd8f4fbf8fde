"""Names of any script and length in a picture, in the fonts that there are."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from math import ceil

from PIL import ImageDraw, ImageFont

from marginface.text import JOINERS, printable

# Fonts of systems, those with more scripts first; after them comes Pillow's own, of Latin alone.
FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "AppleSDGothicNeo.ttc",
    "msyh.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
    "NotoSansDevanagari-Regular.ttf",
)
UNKNOWN, CUT = "?", "…"
NO_LETTER = "\U0010ffff"  # that no font has
LONGEST = 300  # characters that are looked at

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Piece = tuple[str, Font]  # a letter with its marks


def write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: str, width: int
) -> None:
    """Write a text on one line from its left top corner.

    What is too wide is cut in the middle, as numbers are at the end. A letter that no font has
    becomes a question mark.
    """
    left, top = at
    for run, font in _runs(_cut(_pieces(printable(text), size), width, size)):
        pen.text((left, top + size), run, colour, font, anchor="ls")
        left += round(font.getlength(run))


def wrapped(text: str, size: int, width: int) -> list[str]:
    """Return the lines of a text that are at most so wide, broken between words."""
    lines: list[str] = []
    for word in printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(_pieces(longer, size)) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def font_of(size: int) -> Font:
    """Return the first font that there is."""
    return _fonts(size)[0]


def _pieces(text: str, size: int) -> list[Piece]:
    """Return the letters of a text, each with the font that has it."""
    if len(text) > LONGEST:
        text = text[: LONGEST // 2] + text[-LONGEST // 2 :]
    fonts = _fonts(size)
    pieces: list[Piece] = []
    for letter in _letters(text):
        last = pieces[-1][1] if pieces else fonts[0]
        if letter.isspace():
            pieces.append((letter, last))
            continue
        # The font of the letter before, where it has this one: words stay whole.
        having = (font for font in (last, *fonts) if _has(font, letter[0]))
        font = next(having, None)
        pieces.append((UNKNOWN, fonts[0]) if font is None else (letter, font))
    return pieces


def _letters(text: str) -> Iterator[str]:
    """Yield the letters of a text, each with its marks and what a joiner joins to it."""
    letter = ""
    for each in text:
        mark = unicodedata.category(each) in ("Mn", "Mc", "Me") or each in JOINERS
        if letter and not (mark or letter[-1] in JOINERS):
            yield letter
            letter = ""
        letter += each
    if letter:
        yield letter


def _cut(pieces: Sequence[Piece], width: int, size: int) -> Sequence[Piece]:
    """Return the pieces, or the beginning and the end of them, that are at most so wide."""
    if _width(pieces) <= width:
        return pieces
    gap = [(CUT, _fonts(size)[0])]

    def kept(count: int) -> Sequence[Piece]:
        end = count // 2
        return [*pieces[: count - end], *gap, *pieces[len(pieces) - end :]]

    counts = range(len(pieces))
    most = bisect_right(counts, width, key=lambda count: ceil(_width(kept(count))))
    return kept(max(most - 1, 0))


def _runs(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Yield neighbours of one font as one text, so that letters take their forms in it."""
    for _, run in groupby(pieces, lambda piece: id(piece[1])):
        parts = list(run)
        yield "".join(letter for letter, _ in parts), parts[0][1]


def _width(pieces: Sequence[Piece]) -> float:
    return sum(font.getlength(run) for run, font in _runs(pieces))


@cache
def _fonts(size: int) -> tuple[Font, ...]:
    fonts: list[Font] = []
    for name in FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size))
        except OSError:
            continue  # this system has another
    return (*fonts, ImageFont.load_default(size))


@cache
def _has(font: Font, letter: str) -> bool:
    """Return whether a font has a letter: it is drawn otherwise than what no font has."""
    return bytes(font.getmask(letter)) != bytes(font.getmask(NO_LETTER))
