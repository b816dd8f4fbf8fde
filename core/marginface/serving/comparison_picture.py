"""A picture of a comparison: both photos with their faces, the crops, the score on its axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from marginface.evaluation.calibration import Threshold
from marginface.serving.lettering import font_of, write
from marginface.serving.sides import Side
from marginface.serving.thresholds import Decision
from marginface.text import printable

WIDTH, MARGIN, GAP = 960, 24, 12
COLUMN = (WIDTH - 2 * MARGIN - GAP) // 2
TALLEST = 360  # of a photo in it
LARGEST_ZOOM = 4.0
CROP = 112
DESCRIBED = 150  # of a crop and the lines beside it
TITLE, TEXT, SMALL = 24, 15, 13
LINE = 20
TICK = 0.25  # of the axis
NUMBERED = 30  # faces of a photo: more numbers would hide each other
SMALL_BOX, ROOMY_BOX = 12, 40  # pixels of a box: least width for a double line, for landmarks
INK, GREY, PAPER, RULE, BAND = "#202124", "#5f6368", "white", "#bdc1c6", "#d2e3fc"
NO_ANSWER = "no answer"
COLOURS = {"same": "#137333", "not same": "#b3261e", "unsure": "#a35200", NO_ANSWER: "#a35200"}
THRESHOLD = "#1a56b0"
TURNED = 30  # degrees from which it is said

Pen = ImageDraw.ImageDraw
Shown = tuple[Image.Image, float]  # a photo, and its pixels for one of the whole photo


def draw(
    sides: tuple[Side, Side],
    words: Sequence[str],
    answer: str,
    score: float | None,
    decision: Decision | None,
) -> Image.Image:
    """Draw a comparison, 960 pixels wide.

    Args:
        sides: the photos.
        words: the answer in lines, the first one the largest.
        answer, score, decision: as of a `FaceComparison`.

    Raises:
        MarginfaceError: a photo cannot be read any more.
    """
    colour = COLOURS.get(answer, INK)
    photos = [_photo(side) for side in sides]
    head, *lines = map(printable, words)
    top = MARGIN + TITLE + 12 + LINE * len(lines) + GAP
    height = max(photo.height for photo, _ in photos)
    below = top + height + GAP
    axis = below + DESCRIBED + GAP
    sheet = Image.new("RGB", (WIDTH, axis + (108 if score is not None else 0)), PAPER)
    pen = ImageDraw.Draw(sheet)
    write(pen, (MARGIN, MARGIN), head, _fitting(head), colour, WIDTH - 2 * MARGIN)
    for at, line in enumerate(lines):
        place = (MARGIN, MARGIN + TITLE + 12 + at * LINE)
        write(pen, place, line, TEXT, GREY, WIDTH - 2 * MARGIN)
    for column, (side, (photo, zoom)) in enumerate(zip(sides, photos, strict=True)):
        left = MARGIN + column * (COLUMN + GAP)
        _mark(photo, side, zoom, INK if answer == NO_ANSWER and not side.problem else colour)
        sheet.paste(photo, (left, top + height - photo.height))
        _describe(sheet, pen, (left, below), side)
    if score is not None:
        threshold = None if decision is None else decision.threshold
        _axis(pen, axis, score, threshold, colour)
    return sheet


def _fitting(head: str) -> int:
    """Return the size of letters in which the first line has room, or the least that is shown."""
    sizes = range(TITLE, TEXT, -1)
    room = WIDTH - 2 * MARGIN
    return next((size for size in sizes if font_of(size).getlength(head) <= room), TEXT)


def _photo(side: Side) -> Shown:
    """Return a photo at the size that it is shown in."""
    pixels, factor = side.read()
    image = Image.fromarray(pixels)
    zoom = min(COLUMN / image.width, TALLEST / image.height, LARGEST_ZOOM)
    size = max(1, round(image.width * zoom)), max(1, round(image.height * zoom))
    return image.resize(size, Image.Resampling.LANCZOS), zoom / factor


def _mark(photo: Image.Image, side: Side, zoom: float, colour: str) -> None:
    """Draw boxes, landmarks where there is room, and where there are several faces numbers."""
    pen = ImageDraw.Draw(photo)
    several = len(side.faces) > 1
    for number, face in reversed([*enumerate(side.faces)]):  # the surest on top
        if not np.isfinite(face.points).all():
            continue  # a crop, which is all face
        chosen = face is side.face
        line = colour if chosen or side.face is None else GREY
        left, top, right, bottom = (float(value) * zoom for value in face.box)
        box = (left, top, max(left, right), max(top, bottom))
        if right - left < SMALL_BOX:
            pen.rectangle(box, None, line)
        else:
            pen.rectangle(box, None, PAPER, 4)
            pen.rectangle((left + 1, top + 1, right - 1, bottom - 1), None, line, 2)
        if right - left >= ROOMY_BOX and (chosen or not several):
            for x, y in face.points * zoom:
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), line, PAPER)
        if several and (chosen or number < NUMBERED):
            _tag(pen, str(number), (left, top), photo.size, line)


def _tag(pen: Pen, text: str, at: tuple[float, float], size: tuple[int, int], colour: str) -> None:
    """Write a number on a label at a box's corner, inside the picture."""
    font = font_of(SMALL)
    width, height = font.getlength(text) + 8, SMALL + 5
    left = min(max(at[0], 0), max(size[0] - width, 0))
    top = min(max(at[1] - height, 0), max(size[1] - height, 0))
    pen.rectangle((left, top, left + width, top + height), colour, PAPER)
    pen.text((left + width / 2, top + height / 2), text, PAPER, font, anchor="mm")


def _describe(sheet: Image.Image, pen: Pen, at: tuple[int, int], side: Side) -> None:
    """Show the crop that is compared, and say what is known of it."""
    left, top = at
    room = COLUMN
    if side.face is not None:
        crop = Image.fromarray(side.face.crop)
        zoom = CROP / max(crop.size)
        size = max(1, round(crop.width * zoom)), max(1, round(crop.height * zoom))
        sheet.paste(crop.resize(size, Image.Resampling.LANCZOS), (left, top))
        left, room = left + CROP + GAP, room - CROP - GAP
    folder, _, name = side.photo.rpartition("/")
    write(pen, (left, top), name, TEXT, INK, room)
    told = [(f"in {folder}", GREY)] if folder else []
    told += [(text, GREY) for text in _facts(side)]
    told += [(text, COLOURS[NO_ANSWER]) for text in _wrapped(side.problem, room)]
    for line, (text, colour) in enumerate(told, 1):
        write(pen, (left, top + 2 + line * LINE), text, SMALL, colour, room)


def _facts(side: Side) -> list[str]:
    """Return what is known of the face that is compared."""
    face = side.face
    if face is None:
        return []
    told = [f"the crop spans {face.quality.size:.0f} pixels, blur {face.quality.blur:.2f}"]
    if np.isfinite(face.points).all():
        number = next(at for at, each in enumerate(side.faces) if each is face)
        which = f"face {number} of {len(side.faces)}, " if len(side.faces) > 1 else ""
        told.append(f"{which}detector's score {face.score:.2f}")
    if abs(face.quality.yaw) >= TURNED:
        told.append(f"turned by about {abs(face.quality.yaw):.0f} degrees")
    return told


def _wrapped(text: str, room: int) -> list[str]:
    """Break a text of ours between words."""
    font = font_of(SMALL)
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if not lines or font.getlength(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _axis(pen: Pen, top: int, score: float, threshold: Threshold | None, colour: str) -> None:
    """Draw the cosines that faces have, with the threshold, its interval and the score."""
    lowest = min(score, 1.0 if threshold is None else max(threshold.low, -1.0), -TICK)
    first = math.floor(round(lowest / TICK, 6)) * TICK
    left, right, line = MARGIN + 10, WIDTH - MARGIN - 10, top + 56

    def place(value: float) -> float:
        return left + (right - left) * (min(max(value, first), 1.0) - first) / (1.0 - first)

    if threshold is not None:
        ends = place(threshold.low), place(threshold.high)
        pen.rectangle((ends[0], line - 16, max(ends[1], ends[0] + 1), line), BAND)
    pen.line((left, line, right, line), RULE, 2)
    for value in np.arange(first, 1 + TICK / 2, TICK):
        x = place(float(value))
        pen.line((x, line, x, line + 5), RULE, 2)
        pen.text((x, line + 9), f"{value:g}", GREY, font_of(SMALL), anchor="mt")
    if threshold is not None:
        x = place(threshold.value)
        pen.line((x, line - 22, x, line), THRESHOLD, 3)
        words = f"threshold {threshold.value:.3f} ({threshold.low:.3f} to {threshold.high:.3f})"
        _over(pen, x, line + 28, words, THRESHOLD)
    x = place(score)
    pen.polygon([(x, line - 1), (x - 8, line - 16), (x + 8, line - 16)], colour, PAPER)
    _over(pen, x, line - 42, f"cosine {score:.3f}", colour)


def _over(pen: Pen, x: float, top: float, text: str, colour: str) -> None:
    """Write a text in the middle of x, but inside the picture."""
    font = font_of(TEXT)
    half = font.getlength(text) / 2
    x = min(max(x, MARGIN + half), WIDTH - MARGIN - half)
    pen.text((x, top), text, colour, font, anchor="mt")
