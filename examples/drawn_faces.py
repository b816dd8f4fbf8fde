"""Faces drawn by marginface's demo, so that every example runs without any data."""

import numpy as np
from numpy.typing import NDArray

from marginface.demo.drawing.people import draw_person, draw_shot
from marginface.demo.drawing.picture import draw_face

SIDE = 56  # half of the usual 112 pixels: a quarter of the time


def draw_photos(people: int, pictures: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return photos [people * pictures, 56, 56, 3] in RGB, person by person."""
    rng = np.random.default_rng(seed)
    persons = [draw_person(rng) for _ in range(people)]
    faces = np.stack([draw_face(each, draw_shot(rng)) for each in persons for _ in range(pictures)])
    halved = faces.reshape(len(faces), SIDE, 2, SIDE, 2, 3).mean((2, 4))
    return halved.astype(np.uint8)


def draw_faces(
    people: int, pictures: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return pictures [people * pictures, 3, 56, 56] from -1 to 1, and whom each shows."""
    photos = draw_photos(people, pictures, seed)
    images = (photos / np.float32(127.5) - 1).transpose(0, 3, 1, 2)
    return images, np.repeat(np.arange(people), pictures)
