"""A contact sheet of what augmentations do to images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from marginface.data.augmentation import AUGMENTATIONS, PRESETS, Pixels, augmentation

Row = tuple[str, Sequence[Pixels]]  # label, a picture for each column

CELL = 112  # larger images are shown smaller
GAP = 4
TEXT = 14
DRAWS = 3  # rows for each preset
TRIES = 100


def drawn_rows(images: Sequence[Pixels], names: Sequence[str], seed: int) -> list[Row]:
    """Return rows of images as training would draw them with these augmentations."""
    apply = augmentation(names)
    label = ", ".join(names) or "none"
    return [
        (
            f"{label} {draw + 1}",
            [
                apply(image, np.random.default_rng([seed, draw, column]))
                for column, image in enumerate(images)
            ],
        )
        for draw in range(DRAWS)
    ]


def rows_of_all(images: Sequence[Pixels], seed: int) -> list[Row]:
    """Return rows of every preset as training draws it, and of every augmentation where it acts."""
    rows = [row for name in PRESETS for row in drawn_rows(images, [name], seed)]
    for name, apply in AUGMENTATIONS.items():
        shown = []
        for column, image in enumerate(images):
            rng = np.random.default_rng([seed, column])
            drawn = (apply(image, rng) for _ in range(TRIES))
            shown.append(next((new for new in drawn if not np.array_equal(new, image)), image))
        rows.append((name, shown))
    return rows


def contact_sheet(rows: Sequence[Row]) -> Image.Image:
    """Draw pictures, RGB uint8 [height, width, 3] of any sizes, below each other by row."""
    font = ImageFont.load_default(TEXT)
    margin = round(max(font.getlength(label) for label, _ in rows)) + 2 * GAP
    step = CELL + GAP
    columns = max(len(pictures) for _, pictures in rows)
    sheet = Image.new("RGB", (margin + columns * step, GAP + len(rows) * step), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (label, pictures) in enumerate(rows):
        top = GAP + row * step
        pen.text((GAP, top + CELL // 2), label, "black", font, anchor="lm")
        for column, pixels in enumerate(pictures):
            cell = Image.fromarray(pixels)
            cell.thumbnail((CELL, CELL))
            sheet.paste(cell, (margin + column * step, top))
    return sheet
