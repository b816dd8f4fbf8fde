"""Names that any file can have: every command takes them, and reads back what another wrote."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import save_model

from marginface.data.cleaning import Judged, write_table
from marginface.data.formats.folder import open_folder
from marginface.data.names import listed
from marginface.data.opening import open_by_name, open_images
from marginface.data.verification.opening import open_verification
from marginface.embeddings.reader import read_names
from marginface.text import as_utf8

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names that others refuse")

NAMES = (
    *("co:lon", "C:", "~tilde", "new\nline", "re\rturn", "tab\tbed", "a,b", '"quoted"', "it's"),
    *("back\\slash", r"back\x0aslash", "trailing ", " leading", "a...", "\x1b[31m", "a\u2028b"),
    *("\u3000wide", "\ufeffmark", "क्\u200dष", "Jose\u0301", os.fsdecode(b"Jos\xe9"), "100%", "#1"),
)
FILES = {f"{name}/{name}{number}.png" for name in NAMES for number in range(2)}


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("any") / "faces"
    rng = np.random.default_rng(0)
    for name in sorted(FILES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (112, 112, 3), np.uint8)).save(root / name)
    return root


@pytest.fixture
def done(cli):
    def run(*arguments: object) -> str:
        status, out, err = cli(*arguments)
        assert status == 0, err
        return out

    return run


@pytest.mark.parametrize("suffix", [".rec", ".tfrecord", ""])
def test_pack_and_back(faces, suffix, tmp_path, done):
    packed = tmp_path / f"set{suffix}"
    done("data", "pack", faces, packed)
    images, again = open_images(packed), open_images(packed)  # the second from the cached index
    assert {*open_by_name(packed)[1]} == FILES
    assert {*images.identities} == {*again.identities} == {*NAMES}
    assert images.fingerprint() == again.fingerprint() == open_folder(faces).fingerprint()
    done("data", "pack", packed, tmp_path / "back")
    assert all(
        (tmp_path / "back" / name).read_bytes() == (faces / name).read_bytes() for name in FILES
    )


@pytest.mark.parametrize("suffix", ["", ".rec", ".tfrecord"])
def test_split_with_pairs(faces, suffix, tmp_path, done):
    source, out = faces, tmp_path / "out"
    if suffix:
        source = tmp_path / f"set{suffix}"
        done("data", "pack", faces, source)
    done("data", "split", source, "--output", out, "--fraction", 0.9, "--pairs", 40)
    parts = [open_by_name(out / f"{part}{suffix}")[1] for part in ("train", "validation")]
    assert sorted([*parts[0], *parts[1]]) == sorted(FILES)
    if not suffix:
        images, unpacked = out / "validation", out / "unpacked"
        done("data", "pack", images, out / "pairs.zip", "--pairs", out / "pairs.txt")
        done("data", "pack", out / "pairs.zip", unpacked)
        given = open_verification(out / "pairs.txt", images)
        again = open_verification(unpacked / "pairs.txt", unpacked)
        assert (given.first, given.second) == (again.first, again.second)
    pairs = open_verification(out / "pairs.zip")
    assert {*pairs.first, *pairs.second} <= {*parts[1]}
    for name in pairs.first:
        assert pairs.images.encoded(name) == (faces / name).read_bytes()


def test_train_resume_and_embed(faces, tmp_path, done, fake_backend):
    del fake_backend
    run, model = tmp_path / "run", tmp_path / "m.onnx"
    train = ("train", "--output", run, "--backbone", "mobilefacenet", "--embedding-size", 4)
    done(*train, "--data", faces, "--batch-size", 4, "--max-steps", 1)
    assert len((run / "identities.txt").read_text("utf-8").split("\n")) == len(NAMES) + 1
    record = tmp_path / "set.rec"
    done("data", "pack", faces, record)
    done("train", "--output", run, "--resume", "--max-steps", 2)
    done("train", "--output", run, "--resume", "--max-steps", 3, "--data", record)
    save_model(model)
    for source, name in ((faces, "e.parquet"), (record, "e.npz")):
        done("embed", "--model", model, "--images", source, "--output", tmp_path / name)
        assert {*read_names(tmp_path / name)} == {*map(as_utf8, FILES)}
    (tmp_path / "gallery").mkdir()
    for name in NAMES:
        (tmp_path / "gallery" / name).mkdir()
        os.link(faces / name / f"{name}0.png", tmp_path / "gallery" / name / f"{name}0.png")
    probes = [listed(f"{name}/{name}1") for name in NAMES]
    (tmp_path / "probes").write_text("\n".join(probes), encoding="utf-8")
    given = ("--gallery", tmp_path / "gallery", "--probes", tmp_path / "probes")
    assert f"{len(NAMES)}" in done("identify", "--embeddings", tmp_path / "e.npz", *given)


def test_subset_by_the_table_of_clean(faces, tmp_path, done):
    images = open_folder(faces)
    judged = [
        Judged(number, images.identities[label], 1.0, number % 2 == 0)
        for number, label in enumerate(images.labels.tolist())
    ]
    write_table(images, judged, tmp_path / "kept.csv")
    with (tmp_path / "kept.csv").open(newline="", encoding="utf-8") as file:
        assert len([*csv.reader(file)]) == 1 + len(FILES)
    for target in ("kept", "kept.rec"):
        done("data", "subset", faces, tmp_path / target, "--kept", tmp_path / "kept.csv")
        kept = {images.name(each.number) for each in judged if each.kept}
        assert {*open_by_name(tmp_path / target)[1]} == kept
    found = done("data", "inspect", faces, tmp_path / "kept.rec", "--json", tmp_path / "found.json")
    assert f"{len(NAMES)}" in found
