"""Small sets of images for the tests of packing, inspecting and splitting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from marginface.outputs import SIGNATURE

COUNTS = {"Al Bo": 7, "ann": 12, "bob": 3, "cid": 1, "dee": 9}


def write_faces(root: Path, counts: dict[str, int] | None = None, side: int = 12) -> Path:
    """Write noise as JPEG and PNG; every image is another."""
    rng = np.random.default_rng(0)
    for identity, count in (counts or COUNTS).items():
        folder = root / identity
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            ending = "png" if number % 2 else "jpg"
            Image.fromarray(pixels).save(folder / f"{identity}_{number:04d}.{ending}")
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Return the bytes of every file under a folder, by relative path, but marginface's mark."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != SIGNATURE
    }
