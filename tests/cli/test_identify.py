"""`marginface identify` as a user types it: whom it finds, strangers alone, files of embeddings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from embedded_people import IMAGES, SEARCH, options, write_people
from PIL import Image


@pytest.fixture
def people(tmp_path) -> Path:
    write_people(tmp_path, np.random.default_rng(0))
    return tmp_path


def candidates(folder: Path) -> list[dict[str, object]]:
    return pq.read_table(folder / "candidates.parquet").to_pylist()


def test_identify_names_whom_it_finds(cli, people):
    out = people / "out"
    result = cli("identify", *options(people, **SEARCH), "--output", out)
    assert result.status == 0, result.stderr
    rows = candidates(out)
    metrics = json.loads((out / "metrics.json").read_text())
    probes = (people / "probes.txt").read_text().split()
    assert [row["probe"] for row in rows] == [probe for probe in probes for _ in range(5)]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5] * len(probes)
    mated = [row for row in rows if row["truth_rank"] is not None]
    assert len(mated) == 5 * 40
    assert {row["truth"] for row in rows if row["truth_rank"] is None} == {
        *("p08", "p09", "p10", "p11")
    }
    for row in rows:
        assert row["truth"] == str(row["probe"]).partition("/")[0]
        assert (row["rank"] == row["truth_rank"]) == (row["person"] == row["truth"])
    for rank in (1, 5):
        hits = {row["probe"] for row in mated if int(str(row["truth_rank"])) <= rank}
        assert len(hits) / 40 == metrics["rank"][str(rank)]
    threshold = metrics["threshold_at_fpir"]["1e-1"]
    over = [row for row in rows if row["rank"] == 1 and float(str(row["score"])) >= threshold]
    strangers = [row for row in over if row["truth_rank"] is None]
    right = [row for row in over if row["truth_rank"] == 1]
    assert len(strangers) == 2  # of 20
    assert len(right) / 40 == metrics["dir_at_fpir"]["1e-1"]
    first = rows[0]
    shown = [line for line in result.stdout.splitlines() if str(first["probe"]) in line]
    for text in (first["person"], f"{first['score']:.4f}", first["truth"]):
        assert str(text) in shown[0]
    assert "the first 20 of 60 probes" in result.stdout
    assert len({str(row["probe"]) for row in rows} & set(result.stdout.split())) == 20


def test_identify_takes_strangers_alone(cli, people):
    (people / "probes.txt").write_text("p11/1.jpg\np10/2.jpg\nx.jpg\tjosé [/bold]\n")
    with np.load(people / "e.npz") as arrays:
        names = [*arrays["path"][:-1], "x.jpg"]
        np.savez(people / "e.npz", path=np.array(names), embedding=arrays["embedding"])
    arguments = options(people, **SEARCH | {"embeddings": "e.npz"})
    result = cli("identify", *arguments, "--top", 2, "--output", people / "out")
    assert result.status == 0, result.stderr
    assert "none of 3 probes shows one of the 8 subjects of gallery gallery.txt" in result.stderr
    metrics = json.loads((people / "out" / "metrics.json").read_text())
    assert (metrics["mated_probes"], metrics["rank"], metrics["roc"]["far"]) == (0, {}, [])
    assert metrics["fpir_at_threshold"]["0.1"] >= metrics["fpir_at_threshold"]["0.9"] == 0
    assert "FPIR at score 0.1" in result.stdout
    assert "rank 1" not in result.stdout
    rows = candidates(people / "out")
    assert [row["rank"] for row in rows] == [1, 2] * 3
    assert {row["truth_rank"] for row in rows} == {None}
    assert rows[-1]["truth"] == "josé [/bold]"
    assert "josé [/bold]" in result.stdout


def test_probes_of_unknown_persons_are_named_and_do_not_count(cli, people):
    with np.load(people / "e.npz") as arrays:
        names = ["1.jpg", *arrays["path"][1:-1], "2.jpg"]
        np.savez(people / "e.npz", path=np.array(names), embedding=arrays["embedding"])
    lines = (people / "gallery.txt").read_text().replace("p00/0", "p00/5")
    (people / "gallery.txt").write_text(lines)
    counted = "p01/1.jpg\np11/1.jpg\n"
    found = {}
    for name, probes in (("some", counted), ("all", f"1.jpg\n{counted}2.jpg\n"), ("none", "1.jpg")):
        (people / "probes.txt").write_text(probes)
        arguments = options(people, **SEARCH | {"embeddings": "e.npz"})
        result = cli("identify", *arguments, "--output", people / name)
        assert result.status == 0, result.stderr
        assert "FPIR alone" not in result.stderr
        found[name] = json.loads((people / name / "metrics.json").read_text())
    assert found["some"] == found["all"]
    assert (found["all"]["mated_probes"], found["all"]["non_mated_probes"]) == (1, 1)
    assert (found["none"]["mated_probes"], found["none"]["non_mated_probes"]) == (0, 0)
    rows = [row for row in candidates(people / "all") if row["rank"] == 1]
    assert [row["truth"] for row in rows] == [None, "p01", "p11", None]
    values = pq.read_table(people / "e.parquet").column("embedding").to_pylist()
    gallery = np.array([values[5], *values[IMAGES : 8 * IMAGES : IMAGES]])
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    assert rows[0]["person"] == f"p{np.argmax(gallery @ values[0]):02}"
    assert candidates(people / "none")[0] == rows[0]


def test_a_gallery_and_probes_from_two_files(cli, people):
    table = pq.read_table(people / "e.parquet")
    for name, rows in (("g", table.slice(0, 50)), ("p", table.slice(50))):
        pq.write_table(rows, people / f"{name}.parquet")
    both = ("--embeddings", people / "g.parquet", "--embeddings", people / "p.parquet")
    rest = options(people, gallery="gallery.txt", probes="probes.txt")
    found = {}
    for name, files in (("one", options(people, embeddings="e.parquet")), ("two", both)):
        result = cli("identify", *files, *rest, "--output", people / name)
        assert result.status == 0, result.stderr
        found[name] = json.loads((people / name / "metrics.json").read_text())
    assert found["one"] == found["two"]
    assert found["one"]["embeddings"] is None
    assert "g.parquet, " in result.stderr
    assert "p.parquet do not say which model made the embeddings; they" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture
def models(tmp_path) -> Path:
    """Return a folder with images of six people, lists of them, and two models."""
    rng = np.random.default_rng(0)
    for person in range(6):
        (tmp_path / "faces" / f"p{person}").mkdir(parents=True)
        base = rng.integers(0, 200, (8, 8, 3))
        for image in range(3):
            pixels = np.clip(base + rng.integers(0, 60, base.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / f"p{person}" / f"{image}.png")
    header = '<ir_version: 8, opset_import: ["": 17]> tiny (float[N, 3, 8, 8] x) => '
    for name, end in (("one", "y = Flatten(x)"), ("other", "f = Flatten(x) y = Neg(f)")):
        text = f"{header}(float[N, 192] y) {{ {end} }}"
        onnx.save(onnx.parser.parse_model(text), tmp_path / f"{name}.onnx")
    names = [f"p{person}/{image}.png" for person in range(6) for image in range(3)]
    media = [f"{name} {at} {at}\n" for at, name in enumerate(names)]
    (tmp_path / "mid.txt").write_text("".join(media))
    pairs = [f"{a} {b} {int(a // 3 == b // 3)}\n" for a in range(18) for b in range(a)]
    (tmp_path / "pairs.txt").write_text("".join(pairs))
    (tmp_path / "gallery.txt").write_text("".join(names[at] + "\n" for at in range(0, 18, 3)))
    (tmp_path / "probes.txt").write_text("".join(names[at] + "\n" for at in range(1, 18, 3)))
    return tmp_path


def embedded(cli, folder: Path, output: str, model: str, *how: object) -> Path:
    path = folder / output
    arguments = ("--model", folder / f"{model}.onnx", "--images", folder / "faces")
    result = cli("embed", *arguments, "--output", path, *how)
    assert result.status == 0, result.stderr
    return path


def test_embeddings_of_two_models_are_not_compared(cli, refusal, models):
    one, other = embedded(cli, models, "a.parquet", "one"), embedded(cli, models, "b.npz", "other")
    search = options(models, gallery="gallery.txt", probes="probes.txt")
    media = options(models, media="mid.txt", pairs="pairs.txt")
    both = ("--embeddings", one, "--embeddings", other)
    for command, rest in (("identify", search), ("templates", media)):
        message = refusal(command, *both, *rest, "--output", models / "out")
        assert re.search(r"was made by model \w{12} and .* by model \w{12}: their embed", message)
        assert not (models / "out").exists()
    scaled = embedded(cli, models, "c.npz", "one", "--std", 128)
    files = ("--embeddings", one, "--embeddings", scaled)
    assert "(other std)" in refusal("identify", *files, *search)
    result = cli("identify", "--embeddings", one, *search, "--output", models / "out")
    assert result.stderr == ""
    metrics = json.loads((models / "out" / "metrics.json").read_text())
    assert metrics["embeddings"]["std"] == [127.5] * 3
