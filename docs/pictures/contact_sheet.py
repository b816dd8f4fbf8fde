"""Draw docs/contact_sheet.jpg: who some drawn people are, as `marginface identify` shows it.

PYTHONPATH=docs python -m pictures.contact_sheet
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from marginface.embeddings.origin import CROPS
from marginface.evaluation.calibration import thresholds
from marginface.serving.contact_sheet import contact_sheet
from marginface.serving.faces import Face
from marginface.serving.gallery import FOUND, NOBODY, UNSURE, Answer, Gallery
from marginface.serving.recogniser import UNKNOWN
from marginface.serving.thresholds import Calibration
from marginface.vectors import unit_embeddings
from pictures.people import face, read_people

TARGET = Path(__file__).parents[1] / "contact_sheet.jpg"
NAMES = ("Ann", "Bo", "Chiara", "Ελένη", "Ivan", "José", "王小明", "Noor")
FAR = 2e-3
STRANGERS = 6 * len(NAMES)  # the first of their pictures


def answered() -> list[Answer]:
    """Enrol a picture of each of eight people; search for others of theirs and of strangers."""
    embeddings, people = read_people()
    others = np.flatnonzero(people >= 20)
    unit = unit_embeddings(embeddings[others])
    left, right = np.array(list(combinations(range(len(others)), 2))).T
    same = people[others[left]] == people[others[right]]
    scores = np.einsum("nd,nd->n", unit[left], unit[right])
    found = thresholds(scores, same, [FAR])
    calibration = Calibration(
        "0" * 64, False, CROPS, "drawn people", int(same.sum()), int((~same).sum()), found
    )
    gallery = Gallery(calibration, FAR)
    probes = []
    for row in range(6 * 12):
        photo, embedding = f"inbox/{row:04}.jpg", embeddings[row].astype(np.float32)
        nowhere = np.full((5, 2), np.nan, np.float32)
        box = np.array([0, 0, 112, 112], np.float32)
        drawn = Face(photo, box, nowhere, 1.0, UNKNOWN, face(row), embedding)
        if people[row] < len(NAMES) and row % 6 == 0:
            gallery.enrol(NAMES[people[row]], drawn)
        else:
            probes.append(drawn)
    return gallery.search(probes, top=3)


def draw() -> Image.Image:
    """Draw answers of each kind: two people found, one unsure, a stranger."""
    answers = answered()
    found = {each.name: each for each in answers if each.decision == FOUND}
    unsure = [each for each in answers if each.decision == UNSURE]
    strangers = [each for each in answers if each.decision == NOBODY and _number(each) >= STRANGERS]
    chosen = [*list(found.values())[1:3], unsure[0], strangers[0]]
    (page,) = contact_sheet(chosen, [f"8 people, at a FAR of {FAR:g}"])
    return page


def _number(answer: Answer) -> int:
    return int(Path(answer.face.photo).stem)


if __name__ == "__main__":
    draw().save(TARGET, quality=85)
