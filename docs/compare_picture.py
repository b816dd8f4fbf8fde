"""Draw the picture of docs/compare.md: a comparison of drawn faces by the demo's model.

marginface demo && python docs/compare_picture.py demo-torch docs/compare.png
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import marginface as mf
from marginface.data.images import read_image
from marginface.data.photos.alignment import template
from marginface.data.photos.detection import Faces

HEIGHT, WIDTH = 180, 240
TOP = 40  # of a portrait on the wall
WALL = {1: (200, 190, 170), 2: (170, 185, 200)}  # by how many portraits hang on it


def draw(demo: Path, output: Path) -> None:
    """Write the picture of a finished demo: one portrait, and two of which one is compared."""
    faces = demo / "faces"
    ann, bo = sorted((faces / "test").iterdir())[:2]
    crops = [[read_image(path) for path in sorted(each.iterdir())[:2]] for each in (ann, bo)]
    with TemporaryDirectory() as folder, chdir(folder):  # the picture names photos as given
        mf.calibrate(
            demo / "model.onnx",
            pairs=faces / "pairs.txt",
            images=faces / "test",
            far=1e-1,
            output="calibrated.onnx",
        )
        Image.fromarray(_wall(crops[0][:1])).save("ann.png")
        Image.fromarray(_wall([crops[1][0], crops[0][1]])).save("party.png")
        compare = mf.comparer("calibrated.onnx", portraits, far=1e-1)
        compare("ann.png", "party.png", face=(None, 1)).picture().save(output, optimize=True)


def _wall(crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return a photo of portraits side by side."""
    photo = np.empty((HEIGHT, WIDTH * len(crops), 3), np.uint8)
    photo[:] = WALL[len(crops)]
    for at, crop in enumerate(crops):
        photo[TOP : TOP + 112, at * WIDTH + 64 : at * WIDTH + 176] = crop
    return photo


def portraits(photos: Sequence[NDArray[np.uint8]]) -> list[Faces]:
    """Return the faces of walls, which hang where `_wall` puts them."""
    found = []
    for photo in photos:
        starts = [(at * WIDTH + 64, TOP) for at in range(photo.shape[1] // WIDTH)]
        points = np.stack([template() + start for start in starts]).astype(np.float32)
        boxes = [(x + 20, y + 8, x + 92, y + 108) for x, y in starts]
        scores = np.linspace(0.9, 0.8, len(starts), dtype=np.float32)
        found.append(Faces(scores, np.array(boxes, np.float32), points))
    return found


if __name__ == "__main__":
    draw(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute())
