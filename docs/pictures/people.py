"""The people whom the demo holds out: their embeddings, and their faces drawn anew."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.demo.faces import draw_pictures
from marginface.demo.run import IDENTITIES
from marginface.embeddings.reader import read_embeddings
from pictures.panel import Floats

FOLDER = Path(__file__).parents[1] / "concepts"


def read_people() -> tuple[Floats, NDArray[np.int64]]:
    """Return the embeddings [pictures, size] and whom each shows, from 0."""
    batches = list(read_embeddings(FOLDER / "embeddings.npz"))
    names = [Path(name).name for batch, _ in batches for name in batch]
    values = np.concatenate([each for _, each in batches]).astype(np.float64)
    order = np.argsort(names)
    numbers = np.array([int(names[at].split("_")[1]) - 1 - IDENTITIES for at in order])
    return values[order], numbers


def face(row: int) -> NDArray[np.uint8]:
    """Draw the picture of a row of `read_people`."""
    _, people = read_people()
    shot = row - int(np.flatnonzero(people == people[row])[0])
    drawn = draw_pictures(0, IDENTITIES + int(people[row]), held_out=True)
    return next(islice(drawn, shot, None))[0]


def drawing() -> list[float]:
    """Return how light some faces are: other values mean that faces are drawn in another way."""
    return [round(float(face(row).mean()), 1) for row in (0, 100, 239)]
