"""A picture of who was found: each probe's face beside the faces that it resembles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from marginface.data.images import MAX_PIXELS, read_image, read_photo
from marginface.data.names import image_path
from marginface.data.photos.alignment import fit_similarity, template, warp
from marginface.errors import MarginfaceError
from marginface.serving.faces import Face
from marginface.serving.gallery import FOUND, NOBODY, UNSURE, Answer
from marginface.serving.lettering import font_of, wrapped, write

CropOf = Callable[[Face], NDArray[np.uint8] | None]

SHOWN = 200  # faces
ROWS = 20  # of a page
COLUMNS = 5  # candidates of a row
SIDE = 112  # of a crop
TEXT, SMALL = 15, 13
GAP, MARGIN = 12, 20
WORDS = 200  # width of the texts beside a probe
CELL = 136  # width of a candidate, whose name may be wider than the crop
LEAST_WIDTH = 760
LINE = 19
ROW = SIDE + 2 * LINE + GAP
INK, GREY, PAPER, RULE, EMPTY = "#202124", "#5f6368", "white", "#dadce0", "#eceff1"
COLOURS = {FOUND: "#137333", UNSURE: "#a35200", NOBODY: GREY, "": INK}


def crops_in(root: Path, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> CropOf:
    """Return a function that gives a face's crop, made anew from its photo under `root` if needed.

    A search keeps few pixels: what else a sheet shows is read again. It returns None where the
    photo is gone.
    """

    def crop(face: Face) -> NDArray[np.uint8] | None:
        if face.crop.size:
            return face.crop
        path = image_path(root, face.photo)
        try:
            if not np.isfinite(face.points).all():
                return read_image(path, None, max_pixels=max_pixels)
            pixels, factor = read_photo(path, max_pixels=max_pixels)
            points = (face.points.astype(np.float64) + 0.5) / factor - 0.5
            return warp(pixels, fit_similarity(points, template(size)), size)
        except MarginfaceError:
            return None

    return crop


def own_crop(face: Face) -> NDArray[np.uint8] | None:
    """Return the crop that a face has itself."""
    return face.crop if face.crop.size else None


def contact_sheet(
    answers: Sequence[Answer],
    title: Sequence[str] = (),
    *,
    probe_crop: CropOf = own_crop,
    gallery_crop: CropOf = own_crop,
) -> list[Image.Image]:
    """Draw answers, at most 200, in pages of 20: the face, its decision, and its candidates.

    Args:
        answers: of `Gallery.search`.
        title: lines above each page.
        probe_crop, gallery_crop: give the pixels of a face, RGB uint8 [height, width, 3].
    """
    shown = list(islice(answers, SHOWN))
    pages = max(1, -(-len(shown) // ROWS))
    columns = max((min(len(each.candidates), COLUMNS) for each in shown), default=0)
    seen = cache(lambda face: gallery_crop(face))  # one face may be the best for many
    drawn = []
    for page in range(pages):
        rows = shown[page * ROWS : (page + 1) * ROWS]
        first, last = page * ROWS + 1, page * ROWS + len(rows)
        told = f"faces {first:,} to {last:,} of {len(answers):,}"
        if len(answers) > len(shown) and page + 1 == pages:
            told += f"; the other {len(answers) - len(shown):,} are not shown"
        drawn.append(_page(rows, [*title, told], columns, probe_crop, seen))
    return drawn


def _page(
    rows: Sequence[Answer],
    head: Sequence[str],
    columns: int,
    probe_crop: CropOf,
    gallery_crop: CropOf,
) -> Image.Image:
    width = 2 * MARGIN + SIDE + GAP + WORDS + columns * (CELL + GAP)
    width = max(width, LEAST_WIDTH)  # of the title
    lines = [
        (line, size, colour)
        for at, text in enumerate(head)
        for size, colour in [(TEXT, INK) if at == 0 else (SMALL, GREY)]
        for line in wrapped(text, size, width - 2 * MARGIN)
    ]
    start = MARGIN + len(lines) * LINE + GAP
    sheet = Image.new("RGB", (width, start + len(rows) * (ROW + GAP) + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    for at, (line, size, colour) in enumerate(lines):
        write(pen, (MARGIN, MARGIN + at * LINE), line, size, colour, width - 2 * MARGIN)
    for at, answer in enumerate(rows):
        top = start + at * (ROW + GAP)
        pen.line((MARGIN, top - GAP, width - MARGIN, top - GAP), RULE)
        _paste(sheet, (MARGIN, top), probe_crop(answer.face))
        _describe(pen, (MARGIN + SIDE + GAP, top), answer)
        for place, candidate in enumerate(answer.candidates[:columns]):
            left = MARGIN + SIDE + GAP + WORDS + GAP + place * (CELL + GAP)
            _paste(sheet, (left, top), gallery_crop(candidate.face))
            colour = COLOURS[answer.decision] if place == 0 else GREY
            if place == 0 and answer.decision in (FOUND, UNSURE):
                pen.rectangle((left - 3, top - 3, left + SIDE + 2, top + SIDE + 2), None, colour, 3)
            name = (left, top + SIDE + 4)
            write(pen, name, candidate.name, TEXT, INK if place == 0 else GREY, CELL)
            score = (left, top + SIDE + 4 + LINE)
            write(pen, score, f"{candidate.score:.3f}", SMALL, colour, CELL)
    return sheet


def _describe(pen: ImageDraw.ImageDraw, at: tuple[int, int], answer: Answer) -> None:
    """Write the decision and the photo beside a probe's crop."""
    left, top = at
    words = answer.decision
    if words in (FOUND, UNSURE):
        name = answer.candidates[0].name
        words = name if words == FOUND else f"unsure: {name}?"
    if words:
        write(pen, (left, top), words, TEXT + 2, COLOURS[answer.decision], WORDS)
    folder, _, photo = answer.face.photo.rpartition("/")
    lines = [photo, f"in {folder}"] if folder else [photo]
    if np.isfinite(answer.face.points).all():
        lines.append(f"face {answer.number}, {_width(answer.face)} pixels wide")
    for number, line in enumerate(lines):
        write(pen, (left, top + 28 + number * LINE), line, SMALL, GREY, WORDS)


def _width(face: Face) -> int:
    return round(float(face.box[2] - face.box[0]))


def _paste(sheet: Image.Image, at: tuple[int, int], crop: NDArray[np.uint8] | None) -> None:
    """Paste a crop, or an empty frame where there is none, into its square."""
    left, top = at
    if crop is None:
        pen = ImageDraw.Draw(sheet)
        pen.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), EMPTY)
        middle = (left + SIDE // 2, top + SIDE // 2)
        pen.text(middle, "no photo here", GREY, font_of(SMALL), anchor="mm")
        return
    cell = Image.fromarray(crop)
    factor = SIDE / max(cell.size)
    cell = cell.resize(
        (max(1, round(cell.width * factor)), max(1, round(cell.height * factor))),
        Image.Resampling.LANCZOS,
    )
    sheet.paste(cell, (left + (SIDE - cell.width) // 2, top + (SIDE - cell.height) // 2))
