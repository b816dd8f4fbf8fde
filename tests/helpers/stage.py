"""What the pages take for granted, by the names that they give it: drawn faces, models, sets."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from command import printed
from tiny_model import save_model

from marginface.demo.faces import write_demo_set

PEOPLE = ("ann", "bo", "cy", "di")


@cache
def _drawn() -> Path:
    folder = write_demo_set(
        Path(mkdtemp()) / "drawn", len(PEOPLE), 6, held_out=4, held_out_images=4, pairs_per_fold=2
    )
    for name, person in zip(PEOPLE, sorted((folder / "train").iterdir()), strict=True):
        for number, image in enumerate(sorted(person.iterdir()), 1):
            image.rename(person / f"{number}.jpg")
        person.rename(person.with_name(name))
    return folder


def _faces(to: Path) -> None:
    shutil.copytree(_drawn() / "train", to)


def _pairs(to: Path) -> None:
    printed("data", "pack", _drawn() / "test", to, "--pairs", _drawn() / "pairs.txt")


def _embeddings(of: str) -> Callable[[Path], None]:
    def make(to: Path) -> None:
        person = Path(mkdtemp()) / "faces"
        shutil.copytree(_drawn() / "train" / of, person / of)
        model = save_model(person.with_name("tiny.onnx"))
        printed("embed", "--model", model, "--images", person, "--output", to)

    return make


def _run(to: Path) -> None:
    network = ["--backbone", "mobilefacenet", "--embedding-size", 8, "--batch-size", 8]
    printed("train", "--data", _drawn() / "train", "--output", to, *network, "--max-steps", 1)


THINGS: dict[str, Callable[[Path], object]] = {
    "faces": _faces,
    "lfw.bin": _pairs,
    "model.onnx": save_model,
    "gallery.parquet": _embeddings("ann"),
    "probes.npz": _embeddings("bo"),
    "run": _run,
}


def set_stage(folder: Path, text: str) -> None:
    """Make in a folder what a text names, and nothing else."""
    for name in THINGS:
        if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])", text):
            _copy(_made(name), folder / name)


@cache
def _made(name: str) -> Path:
    path = Path(mkdtemp()) / name
    THINGS[name](path)
    return path


def _copy(source: Path, to: Path) -> None:
    """Copy a file or a folder."""
    (shutil.copytree if source.is_dir() else shutil.copy)(source, to)
