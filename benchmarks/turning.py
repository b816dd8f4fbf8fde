"""What looking at photos in their turns finds, and what it costs where none is turned.

python benchmarks/turning.py scrfd_2.5g_bnkps.onnx photos/ more_photos/
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import interleave, show, spread, write

from marginface.data.image_files import list_images
from marginface.data.images import read_image
from marginface.data.photos.alignment import fit_similarity, template
from marginface.data.photos.detection import Faces
from marginface.data.photos.detector import FaceDetector
from marginface.data.photos.turning import SURE, find_in_turns, surest

BATCH = 8
FARTHEST = 35  # degrees from where the face stands upright


def main(
    model: Annotated[Path, typer.Argument(help="SCRFD detector.")],
    folders: Annotated[list[Path], typer.Argument(help="Of photos, upright ones.")],
    most: Annotated[int, typer.Option(help="Photos of a folder.")] = 400,
    rounds: int = 9,
    output: Path | None = None,
) -> None:
    """Time detection with and without turns, and count the faces that stand right in each turn."""
    detector = FaceDetector(model)
    record, rows = {}, []
    for folder in folders:
        names = list_images(folder)
        names = random.Random(0).sample(names, min(most, len(names)))
        photos = [read_image(folder / name, None) for name in names]
        batches = [photos[at : at + BATCH] for at in range(0, len(photos), BATCH)]
        seconds = interleave(
            {
                "as they are": lambda b=batches: [detector(batch) for batch in b],
                "in turns": lambda b=batches: [find_in_turns(detector, batch) for batch in b],
            },
            rounds=rounds,
            repeats=1,
            warm_up=1,
        )
        doubtful = sum(surest(faces, 0) < SURE for batch in batches for faces in detector(batch))
        right, before = (
            [
                sum(
                    stands(faces, quarters)
                    for batch in batches
                    for faces in find([np.rot90(photo, quarters).copy() for photo in batch])
                )
                for quarters in range(4)
            ]
            for find in (lambda batch: find_in_turns(detector, batch), detector)
        )
        record[str(folder)] = {
            "photos": len(photos),
            "doubtful": doubtful,
            "seconds": seconds,
            "right": right,
            "before": before,
        }
        cost = spread(seconds, "in turns", "as they are")
        shares = (" ".join(map(str, counts)) for counts in (right, before))
        rows.append((folder.name, len(photos), doubtful, *cost, *shares))
    numbers = ("photos", "doubtful", "time", "smallest", "largest", "right", "before")
    show("photos in their turns", ("folder",), numbers, rows)
    write(output, folders=record)


def stands(faces: Faces, quarters: int) -> bool:
    """Return whether the largest face's points turn a photo back that was turned by quarters."""
    if not len(faces):
        return False
    low, high = faces.boxes[:, :2], faces.boxes[:, 2:]
    points = faces.points[np.argmax(np.prod(high - low, axis=1))]
    off = fit_similarity(points, template()).factor / 1j**quarters
    return bool(abs(np.angle(off, deg=True)) <= FARTHEST)


if __name__ == "__main__":
    typer.run(main)
