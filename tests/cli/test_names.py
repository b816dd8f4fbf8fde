"""Every command, where all names around it speak to terminals, to rich and to matplotlib."""

from __future__ import annotations

import csv
import json
import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector

from marginface.cli.app import COMMANDS
from marginface.data.cleaning import Judged, write_table
from marginface.data.formats.folder import open_folder
from marginface.text import printable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names that others refuse")

AROUND = Path("[", "bold]:smile:\x1b]0;t\x07\n\u202e$x_1$\x9b31m")  # `[/bold]` as rich reads it
SHOWN = "[/bold]:smile:\\x1b]0;t\\x07\\n\\u202e$x_1$\\u009b31m"
PEOPLE = (
    *("e\x1b[31mred", "[red]x", ":smile:", "$x_1$", "new\nline", "bi\u202edi"),
    *("c\x9b31m\x7f", os.fsdecode(b"byte\xff"), "tab\tand\rreturn", "José {x} %s"),
)
TAME = ("[red]x", "$x_1$", "José {x} %s")  # what other systems take as well


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder of people, one of tame names, a model and pairs; every path has `AROUND` in it."""
    root = tmp_path / AROUND
    rng = np.random.default_rng(0)
    for folder, people in (("wild", PEOPLE), ("tame", TAME)):
        for person in people:
            (root / folder / person).mkdir(parents=True)
            colours = rng.integers(40, 216, (2, 2, 3)).repeat(56, 0).repeat(56, 1)
            for number in range(3):
                noisy = (colours + rng.integers(-20, 21, colours.shape)).astype(np.uint8)
                Image.fromarray(noisy).save(root / folder / person / f"{person}{number}.png")
    save_model(root / "m\x1b[1m.onnx")
    return root


@pytest.fixture
def bad(root) -> Path:
    """A file that is no image, by a name that would turn red."""
    path = root / "wild" / "[red]x" / "bad\x1b[31m.png"
    path.write_bytes(b"no image")
    return path


@pytest.fixture
def shown(cli):
    """Run a command; return its status and all that it says, which is text and one path in it."""

    def run(*arguments: object, says: str = SHOWN) -> tuple[int, str]:
        status, *printed = cli(*arguments, columns=1000)
        for text in printed:
            kinds = {each: unicodedata.category(each) for each in text if each != "\n"}
            assert not {"Cc", "Cf", "Cs", "Zl", "Zp"} & {*kinds.values()}, (arguments, text)
        said = "".join(printed)
        assert says in said, (arguments, said)
        return status, said

    return run


def test_train_and_resume(root, bad, shown, fake_backend):
    del fake_backend
    run = root / "run"
    train = ("train", "--data", root / "wild", "--output", run, "--backbone", "mobilefacenet")
    train += ("--embedding-size", 4, "--batch-size", 4, "--max-steps", 2)
    status, said = shown(*train)
    assert status == 2
    assert printable(f"{bad.parent.name}/{bad.name}") in said
    status, said = shown(*train, "--skip-bad")
    assert status == 0
    assert f"skipped {printable(f'{bad.parent.name}/{bad.name}')}: " in said
    lines = (run / "identities.txt").read_text("utf-8").split("\n")
    assert lines[:-1] == sorted(map(printable, PEOPLE), key=lines.index)
    assert len(lines) == len(PEOPLE) + 1
    status, said = shown("train", "--output", run, "--resume", "--max-steps", 4)
    assert (status, "resuming at step 2" in said) == (0, True)
    other = ("--data", root / "tame", "--max-steps", 6)
    assert shown("train", "--output", run, "--resume", *other)[0] == 2


@pytest.mark.usefixtures("bad")
def test_embed_and_evaluate(root, shown):
    model, wild = root / "m\x1b[1m.onnx", root / "wild"
    assert shown("embed", "--model", model, "--images", wild, "--output", root / "e.npz")[0] == 2
    for name in ("e\x1b.parquet", "e[/b].npz"):
        status, said = shown(
            *("embed", "--model", model, "--images", wild, "--output", root / name, "--skip-bad")
        )
        assert status == 0
        assert r"bad\x1b[31m.png: cannot read the image" in said
    found = pq.read_table(root / "e\x1b.parquet").column("path").to_pylist()
    assert {path.split("/")[0] for path in found} == {*PEOPLE[:7], r"byte\xff", *PEOPLE[8:]}
    names = [f"{person}/{person}{number}.png" for person in TAME for number in range(2)]
    pairs = [
        f"{a} {b} {int(a.split('/')[0] == b.split('/')[0])}" for a in names for b in names if a < b
    ]
    (root / "p.txt").write_text(
        "\n".join(line.replace("José {x} %s", "x") for line in pairs) + "\n"
    )
    (root / "tame" / "José {x} %s").rename(root / "tame" / "x")
    for number in range(3):
        (root / "tame" / "x" / f"José {{x}} %s{number}.png").rename(
            root / "tame" / "x" / f"x{number}.png"
        )
    out = root / "out[/red]"
    second = root / "[blue]:heart:\x1b.onnx"
    second.write_bytes(model.read_bytes())
    given = ("--images", root / "tame", "--pairs", root / "p.txt")
    status, said = shown("evaluate", "--model", model, "--model", second, *given, "--output", out)
    assert status == 0
    assert "[blue]:heart:\\x1b" in said
    with (out / "comparison.csv").open(newline="", encoding="utf-8") as file:
        models = [row["model"] for row in csv.DictReader(file)]
    assert models == ["m\\x1b[1m", "[blue]:heart:\\x1b"]
    status, said = shown("report", model, second, *given, "--output", root / "report")
    assert status == 0
    page = (root / "report" / "index.html").read_text("utf-8")
    assert "m\\x1b[1m" in page
    outside = page.split('<script type="application/json"')[0]
    assert not {each for each in outside if unicodedata.category(each) == "Cc"} - {"\n"}


def test_data_commands(root, bad, shown):
    wild, tame = root / "wild", root / "tame"
    status, said = shown("data", "inspect", wild, tame, "--json", root / "found\x1b.json")
    assert status == 0
    assert printable(bad.name) in said
    assert len(json.loads((root / "found\x1b.json").read_text())["sets"]) == 2
    assert shown("data", "pack", wild, root / "w.tfrecord", "--skip-bad")[0] == 0
    (tame / "[red]x" / "bad.png").write_bytes(b"no image")
    assert shown("data", "pack", tame, root / "t\x1b.tfrecord", "--skip-bad")[0] == 0
    (tame / "[red]x" / "bad.png").unlink()
    assert shown("data", "subset", tame, root / "part", "--identities", 2)[0] == 0
    assert shown("data", "split", tame, "--output", root / "[s]", "--fraction", 0.4)[0] == 0
    assert shown("data", "preview", tame, root / "s\x1b.png", "--augment", "flip")[0] == 0
    assert shown("data", "preview", wild, root / "s\x1b.jpg")[0] == 2


def test_align_writes_a_table_that_is_read_back(root, shown):
    photos, detector = root / "photos", save_detector(root / "d\x1b.onnx")
    for person in PEOPLE:
        (photos / person).mkdir(parents=True)
        Image.fromarray(photo_with(200, 160, (16, 4, 6))).save(photos / person / f"{person}.png")
    (photos / "bad\x1b[5m.png").write_bytes(b"no image")
    assert shown("data", "align", photos, root / "a", "--detector", detector)[0] == 0
    table = (root / "a" / "alignment.csv").read_text("utf-8")
    assert not {each for each in table if unicodedata.category(each) in ("Cc", "Cf")} - {"\n"}
    assert len(table.splitlines()) == 1 + len(PEOPLE) + 1
    marks = ("--landmarks", root / "a" / "alignment.csv")
    status, said = shown("data", "align", photos, root / "b", *marks)
    assert (status, f"aligned {len(PEOPLE)} of {len(PEOPLE) + 1}" in said) == (0, True)
    assert "no photo" not in said
    for person in PEOPLE:
        assert (root / "b" / person / f"{person}.jpg").is_file()
    # The escaped name of one photo must not stand for another's.
    (photos / r"e\x1b[31mred").mkdir()
    Image.new("RGB", (9, 9)).save(photos / r"e\x1b[31mred" / r"e\x1b[31mred.png")
    assert shown("data", "align", photos, root / "c", *marks, says="rename one of them")[0] == 2


def test_a_table_of_clean_is_read_back(root, shown):
    names = [f"{person}/{person}{number}.png" for person in PEOPLE for number in range(3)]
    kept = [name for name in names if name.endswith("2.png") and name.split("/")[0] in TAME]
    images = open_folder(root / "wild")
    every = [images.name(number) for number in range(len(images))]
    assert sorted(every) == sorted(names)
    judged = [
        Judged(number, name.split("/")[0], 10.0, name in kept) for number, name in enumerate(every)
    ]
    write_table(images, judged, root / "kept\x1b.csv")
    table = (root / "kept\x1b.csv").read_text("utf-8")
    assert len(table.splitlines()) == 1 + len(names)
    assert not {each for each in table if unicodedata.category(each) in ("Cc", "Cf")} - {"\n"}
    given = ("--kept", root / "kept\x1b.csv")
    assert shown("data", "subset", root / "wild", root / "kept", *given)[0] == 0
    assert {path.name for path in (root / "kept").rglob("*.png")} == {f"{p}2.png" for p in TAME}
    # The escaped name of one image must not stand for another's.
    (root / "wild" / r"e\x1b[31mred").mkdir()
    Image.new("RGB", (112, 112)).save(root / "wild" / r"e\x1b[31mred" / r"e\x1b[31mred0.png")
    status, said = shown("data", "subset", root / "wild", root / "no", *given)
    assert (status, "two images" in said) == (2, True)


ABSENT = AROUND / "absent\x1b.onnx"
REFUSED = [
    ("train", "--data", ABSENT, "--output", "out"),
    ("train", "--config", ABSENT),
    ("evaluate", "--model", ABSENT, "--val", ABSENT),
    ("templates", "--embeddings", ABSENT, "--media", ABSENT, "--pairs", ABSENT),
    ("identify", "--embeddings", ABSENT, "--gallery", ABSENT, "--probes", ABSENT),
    ("report", ABSENT, "--val", ABSENT, "--output", "out"),
    ("embed", "--model", ABSENT, "--images", ABSENT, "--output", "out.npz"),
    ("export", "--run", ABSENT, "--output", "out.onnx"),
    ("info", ABSENT),
    ("convert", ABSENT, "--output", "out.pt"),
    ("calibrate", "--model", ABSENT, "--val", ABSENT, "--output", "out.onnx"),
    ("compare", "a.jpg", "b.jpg", "--model", ABSENT),
    ("clean", "--run", ABSENT, "--data", ABSENT, "--output", "out.csv"),
    ("data", "align", ABSENT, "out", "--landmarks", ABSENT.with_suffix(".csv")),
    ("data", ABSENT),
    ("losses", ABSENT),
    ("parity", "--loss", ABSENT),
    ("bench", "losses", "--backend", ABSENT),
    ("demo", "--backend", ABSENT, "--output", "out"),
    (ABSENT,),
    ("train", f"--{ABSENT}"),
    ("train", ABSENT),
]


@pytest.mark.parametrize("arguments", REFUSED, ids=[" ".join(map(str, a))[:14] for a in REFUSED])
def test_what_is_refused_is_named_as_text(shown, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    status, said = shown(*arguments, says=":smile:\\x1b")
    assert status == 2
    assert said.startswith("marginface: error: ")
    assert said.count("\n") == 1
    assert {given[0] for given in REFUSED} >= {*COMMANDS}


def test_pictures_and_tables_are_written_where_a_name_says(root, shown):
    status, _ = shown("losses", "cosface", "--plot", root / "[x]\x1b.png")
    assert status == 0


def test_a_gallery_heads_a_column(root, shown):
    names = [f"{person}/{number}" for person in TAME for number in range(2)]
    values = np.random.default_rng(0).normal(size=(len(names), 8)).astype(np.float32)
    np.savez(root / "e.npz", path=np.array(names), embedding=values)
    gallery, probes = root / "[g]:cat:\x1b[31m", root / "p"
    gallery.write_text("\n".join(names[::2]))
    probes.write_text("\n".join(names[1::2]))
    given = ("--embeddings", root / "e.npz", "--gallery", gallery, "--probes", probes)
    status, said = shown("identify", *given, "--output", root / "out")
    assert (status, " [g]:cat:\\x1b[31m\n" in said) == (0, True)
