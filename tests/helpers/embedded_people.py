"""Embeddings of some people, and the lists of a search among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from marginface.embeddings.files import embeddings_table

PEOPLE, IMAGES = 12, 6
SEARCH = {"embeddings": "e.parquet", "gallery": "gallery.txt", "probes": "probes.txt"}


def options(folder: Path, **names: str) -> list[object]:
    """Return options of a command that name files of a folder."""
    return [part for name, file in names.items() for part in (f"--{name}", folder / file)]


def write_people(folder: Path, rng: np.random.Generator) -> list[str]:
    """Write six embeddings of each person and return their names.

    The gallery has one image of each of the first eight, the probes are all others.
    """
    centres = rng.normal(size=(PEOPLE, 8)).repeat(IMAGES, 0)
    values = (centres + rng.normal(size=centres.shape)).astype(np.float32)
    names = [f"p{person:02}/{image}.jpg" for person in range(PEOPLE) for image in range(IMAGES)]
    pq.write_table(embeddings_table(names, values), folder / "e.parquet")
    np.savez(folder / "e.npz", path=np.array(names), embedding=values)
    (folder / "gallery.txt").write_text("".join(f"p{each:02}/0.jpg\n" for each in range(8)))
    probes = [name for name in names if not name.endswith("/0.jpg")]
    (folder / "probes.txt").write_text("\n".join(probes) + "\n")
    return names
