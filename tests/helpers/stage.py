"""What the pages take for granted, by the names that they give it: drawn faces, models, sets."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import cache, partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
import onnx
import pytest
from command import printed
from PIL import Image
from tiny_scrfd import photo_with, save_detector

from marginface import backbones
from marginface.backbones import describe
from marginface.demo.faces import write_demo_set
from marginface.embeddings.embedder import open_embedder
from marginface.embeddings.origin import CROPS
from marginface.evaluation.calibration import Threshold
from marginface.model import THRESHOLDS_KEY
from marginface.onnx.metadata import write_with_metadata
from marginface.serving.thresholds import Calibration, to_text
from marginface.training import trainer
from marginface.training.config.keys import TrainConfig

PEOPLE = ("ann", "bo", "bob", "cy")
NETWORK = """<ir_version: 8, opset_import: ["": 17]>
tiny (float[N, 3, 112, 112] images) => (float[N, 12] embeddings) {
    pooled = AveragePool<kernel_shape = [56, 56], strides = [56, 56]>(images)
    embeddings = Flatten(pooled) }"""
SHORT = {
    "batch_size": 4,
    "epochs": None,
    "warmup_steps": 0,
    "warmup_share": None,
    "val_every": None,
}


@cache
def _home() -> TemporaryDirectory[str]:
    return TemporaryDirectory()  # which goes when Python ends


def _new_folder() -> Path:
    return Path(mkdtemp(dir=_home().name))


@cache
def drawn() -> Path:
    """Return a folder of train, test and pairs.txt, drawn once."""
    folder = write_demo_set(
        _new_folder() / "drawn", len(PEOPLE), 6, held_out=4, held_out_images=4, pairs_per_fold=2
    )
    for name, person in zip(PEOPLE, sorted((folder / "train").iterdir()), strict=True):
        for number, image in enumerate(sorted(person.iterdir()), 1):
            image.rename(person / f"{number}.jpg")
        person.rename(person.with_name(name))
    return folder


def _copy(part: str, to: Path) -> None:
    made = drawn() / part
    (shutil.copytree if made.is_dir() else shutil.copy)(made, to)


def _photos(to: Path) -> None:
    """Write photos in which the tiny detector sees a face, of people enough to hold some out."""
    for person in (*PEOPLE, *(f"person_{number}" for number in range(16))):
        (to / person).mkdir(parents=True)
        for number in range(1, 6):
            photo = photo_with(160, 160, (16, 4, 4), brightness=200 + 10 * number)
            Image.fromarray(photo).save(to / person / f"{number}.jpg", quality=95)


def _people(to: Path) -> None:
    for at, person in enumerate(PEOPLE):
        _photo(to / person / "1.jpg", at)


def _inbox(to: Path) -> None:
    for at in range(3):
        _photo(to / f"{at}.jpg", at)


def _photo(to: Path, person: int) -> None:
    """Write a photo with a face for the tiny detector on the dark colours of a person."""
    to.parent.mkdir(parents=True, exist_ok=True)
    mark = photo_with(160, 160, (16, 4, 4))
    colours = np.random.default_rng(person).integers(0, 90, (4, 4, 3)).repeat(40, 0).repeat(40, 1)
    Image.fromarray(np.where(mark > 0, mark, colours).astype(np.uint8)).save(to, quality=95)


def _calibrated(to: Path) -> None:
    _model(to)
    rate = (0.01, 0.005, 0.02)
    at = Threshold(1e-2, 0.9, 0.85, 0.95, True, rate, rate)
    fingerprint = open_embedder(to).fingerprint
    kept = Calibration(fingerprint, True, CROPS, "lfw", 3000, 3000, (at,))
    write_with_metadata(to, to, {THRESHOLDS_KEY: to_text([kept])})


def _parts(to: Path) -> None:
    to.mkdir()
    _copy("train", to / "train")
    _copy("test", to / "validation")
    _copy("pairs.txt", to)


def _demo(to: Path) -> None:
    shutil.copytree(drawn(), to / "faces")


def _packed(to: Path) -> None:
    printed("data", "pack", drawn() / "train", to)


def _pairs(to: Path) -> None:
    printed("data", "pack", drawn() / "test", to, "--pairs", drawn() / "pairs.txt")


def _model(to: Path) -> None:
    onnx.save(onnx.parser.parse_model(NETWORK), to)


def _embeddings(to: Path, of: str) -> None:
    faces = _new_folder() / "faces"
    shutil.copytree(drawn() / "train" / of, faces / of)
    printed("embed", "--model", _made("model.onnx"), "--images", faces, "--output", to)


def _run(to: Path) -> None:
    network = ["--backbone", "mobilefacenet", "--embedding-size", 8, "--batch-size", 8]
    printed("train", "--data", drawn() / "train", "--output", to, *network, "--max-steps", 1)


def _weights(to: Path) -> None:
    backbones.write_weights(to, backbones.initial_weights(describe("mobilefacenet", 128), 0))


def _config(to: Path) -> None:
    data = f"data: {drawn() / 'train'}\noutput: run\n"
    to.write_text(f"{data}backbone: mobilefacenet\nembedding_size: 8\n")


def _table(to: Path) -> None:
    rows = [f"{person}/{number}.jpg,{person},30.0,1" for person in PEOPLE for number in range(1, 6)]
    to.write_text("\n".join(["path,identity,angle,kept", *rows, ""]))


def _groups(to: Path) -> None:
    people = [person.name for person in sorted((drawn() / "test").iterdir())]
    rows = [f"{person},{'ab'[at % 2]}" for at, person in enumerate(people)]
    to.write_text("\n".join(["person,group", *rows, ""]))


def _list(to: Path, number: int) -> None:
    to.write_text("".join(f"{person}/{number}.jpg\n" for person in PEOPLE))


THINGS: dict[str, Callable[[Path], object]] = {
    "faces": partial(_copy, "train"),
    "crops": partial(_copy, "train"),
    "photos": _photos,
    "people": _people,
    "inbox": _inbox,
    "parts": _parts,
    "demo": _demo,
    "casia": partial(_copy, "train"),
    "faces.rec": _packed,
    "glint.rec": _packed,
    "train.rec": _packed,
    "lfw": partial(_copy, "test"),
    "pairs.txt": partial(_copy, "pairs.txt"),
    "lfw.bin": _pairs,
    "agedb_30.bin": _pairs,
    "cfp_fp.bin": _pairs,
    "train.yaml": _config,
    "clean.csv": _table,
    "groups.csv": _groups,
    "run": _run,
    "model.onnx": _model,
    "r50.onnx": _model,
    "before.onnx": _model,
    "calibrated.onnx": _calibrated,
    "tuned.onnx": _model,
    "public.safetensors": _weights,
    "det_10g.onnx": save_detector,
    "det_500m.onnx": save_detector,
    "scrfd_2.5g_bnkps.onnx": save_detector,
    "gallery.parquet": partial(_embeddings, of="ann"),
    "probes.npz": partial(_embeddings, of="bo"),
    "gallery.txt": partial(_list, number=1),
    "probes.txt": partial(_list, number=2),
}


def set_stage(folder: Path, text: str) -> set[str]:
    """Make in a folder what the strings of a text name, but for what it makes; return the names."""
    given = set()
    for name in THINGS:
        named = re.search(rf'(output=|export\()?["\',]{re.escape(name)}(?![\w.-])', text)
        if named and not named[1]:
            given.add(name)
            made = _made(name)
            (shutil.copytree if made.is_dir() else shutil.copy)(made, folder / name)
            for beside in made.parent.iterdir():  # the index of a .rec
                if beside != made:
                    shutil.copy(beside, folder)
    return given


@cache
def _made(name: str) -> Path:
    path = _new_folder() / name
    THINGS[name](path)
    return path


def shorten_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let training in this process end after two steps, and go on for one at a time."""
    train, steps = trainer.train, count(2)

    def shortened(config: TrainConfig, **options: Any) -> Any:
        short = {**dict(config), **SHORT, "max_steps": next(steps)}
        if config.people_per_batch:
            short |= {"people_per_batch": 2, "images_per_person": 2}
        return train(TrainConfig(**short), **options)

    monkeypatch.setattr(trainer, "train", shortened)
