"""`marginface evaluate --val`: sets of every kind, several models, and what is written."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from PIL import Image
from real_faces import FACES, needs_faces

from marginface.data.verification.bin_file import write_bin
from marginface.data.verification.container import write_container
from marginface.data.verification.folds import folds_of_both_kinds
from marginface.data.verification.opening import open_verification
from marginface.data.verification.pairs import Pairs
from marginface.evaluation.verification import verify

PEOPLE = 8
GRAPH = """<ir_version: 8, opset_import: ["": 17]>
tiny (float[N, 3, 112, 112] x) => (float[N, %d] y) {
    pooled = AveragePool<kernel_shape = [%d, %d], strides = [%d, %d]>(x) y = Flatten(pooled) }"""


@pytest.fixture
def models(tmp_path) -> list[Path]:
    paths = []
    for name, side in (("coarse", 56), ("fine", 28)):
        text = GRAPH % (3 * (112 // side) ** 2, side, side, side, side)
        paths.append(tmp_path / f"{name}.onnx")
        onnx.save(onnx.parser.parse_model(text), paths[-1])
    return paths


@pytest.fixture
def pairs(tmp_path) -> Pairs:
    """A list of pairs, whose pictures are noisy, so that some are mistaken."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    for person in range(PEOPLE):
        colours = rng.integers(60, 196, (4, 4, 3)).repeat(28, 0).repeat(28, 1)
        for picture in (1, 2):
            path = folder / f"p{person}" / f"{picture}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            shift = rng.integers(-90, 91, (4, 4, 3)).repeat(28, 0).repeat(28, 1)
            noisy = (colours + shift).clip(0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(path)
    lines = [f"p{n}/1.png p{n}/2.png 1\np{n}/1.png p{(n + 1) % 8}/2.png 0\n" for n in range(8)]
    (tmp_path / "list.txt").write_text("".join(lines))
    opened = open_verification(tmp_path / "list.txt", folder)
    return replace(opened, fold=folds_of_both_kinds(opened.same, 4))


@pytest.fixture
def sets(tmp_path, pairs) -> list[Path]:
    write_container(tmp_path / "whole.zip", pairs)
    half = replace(
        pairs, first=pairs.first[:8], second=pairs.second[:8], same=pairs.same[:8], name="half"
    )
    write_bin(tmp_path / "half.bin", half)
    return [tmp_path / "whole.zip", tmp_path / "half.bin"]


def test_one_model_on_one_set(printed, models, sets, pairs, tmp_path):
    out = tmp_path / "out"
    text = printed("evaluate", "--model", models[0], "--val", sets[0], "--output", out)
    assert {path.name for path in out.iterdir()} == {
        ".marginface",
        "metrics.json",
        "verification.png",
        "scores.parquet",
    }
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["interval"]["accuracy"] is None
    assert metrics["interval"]["accuracy_note"] in text
    for name in ("best_accuracy", "eer"):
        low, high = metrics["interval"][name]
        assert f"{100 * low:.2f} - {100 * high:.2f}" in text
        assert f"{metrics[name]:.2%}" in text
        assert low <= metrics[name] <= high
        assert low < high

    table = pq.read_table(out / "scores.parquet")
    assert table.schema.names == [
        *("first", "second", "same", "score", "first_norm", "second_norm", "fold"),
    ]
    assert table["first"].to_pylist() == list(pairs.first)
    assert table["fold"].to_pylist() == [at // 4 for at in range(16)]
    again = verify(table["score"].to_numpy(), table["same"].to_numpy(), 4)
    assert (again.accuracy, again.auc) == (metrics["accuracy"], metrics["auc"])


def test_the_norms_are_those_of_the_compared_embeddings(printed, models, sets, tmp_path):
    for flip in ("--flip", "--no-flip"):
        out = tmp_path / flip
        printed("evaluate", "--model", models[0], "--val", sets[0], "--output", out, flip)
        table = pq.read_table(out / "scores.parquet")
        for names, norms in (("first", "first_norm"), ("second", "second_norm")):
            for name, norm in zip(table[names].to_pylist(), table[norms].to_pylist(), strict=True):
                pixels = np.array(Image.open(tmp_path / "images" / name), float) / 127.5 - 1
                quarters = pixels.reshape(2, 56, 2, 56, 3).mean((1, 3))
                if flip == "--flip":
                    quarters = quarters + quarters[:, ::-1]
                assert norm == pytest.approx(np.linalg.norm(quarters), rel=1e-4)


def test_models_times_sets_in_one_table(printed, models, sets, tmp_path):
    out = tmp_path / "out"
    text = printed(
        "evaluate",
        *("--model", models[0], "--model", models[1], "--val", sets[0], "--val", sets[1]),
        *("--output", out),
    )
    with (out / "comparison.csv").open() as file:
        lines = list(csv.DictReader(file))
    found = [(line["model"], line["set"]) for line in lines]
    assert found == [(m, s) for m in ("coarse", "fine") for s in ("whole", "half")]
    record = json.loads((out / "comparison.json").read_text())
    for line, each in zip(lines, record, strict=True):
        metrics = json.loads((out / line["model"] / line["set"] / "metrics.json").read_text())
        assert each == {"model": line["model"], "set": line["set"], **metrics}
        assert float(line["accuracy"]) == metrics["accuracy"]
        assert (line["accuracy_low"], line["accuracy_high"]) == ("", "")  # eight pairs of a kind
        assert float(line["best_accuracy_low"]) == metrics["interval"]["best_accuracy"][0]
        assert float(line["auc_high"]) == metrics["interval"]["auc"][1]
        assert float(line["tar_at_1e-3_low"]) == metrics["interval"]["tar_at_far"]["1e-3"][0]
        assert f"{metrics['accuracy']:.2%} ± {100 * metrics['accuracy_std']:.2f}" in text
        assert (out / line["model"] / line["set"] / "scores.parquet").is_file()
    assert text.count("none**") == 4
    assert "** none under 30 + 30 pairs" in text
    assert record[0]["auc"] != record[2]["auc"]


def test_a_list_among_the_sets_takes_its_images_from_the_folder(printed, models, sets, tmp_path):
    out = tmp_path / "out"
    printed(
        "evaluate",
        *("--model", models[0], "--val", tmp_path / "list.txt", "--val", sets[0]),
        *("--images", tmp_path / "images", "--output", out),
    )
    scores = [
        pq.read_table(out / "coarse" / name / "scores.parquet")["score"].to_pylist()
        for name in ("list", "whole")
    ]
    assert scores[0] == scores[1]


def test_the_table_fits_a_narrow_terminal(printed, models, sets):
    given = ("--model", models[0], "--val", sets[0], "--val", sets[1])
    text = printed("evaluate", *given, columns=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "95% interval" in text
    assert "TAR@1e-3" in text
    assert "* too few different pairs to allow one false accept" in text
    assert text.count("%*") == 2


def test_what_cannot_be_evaluated_is_refused_before_a_model_runs(
    refusal, models, sets, tmp_path, monkeypatch
):
    monkeypatch.setattr("marginface.embeddings.embedder.Embedder.__call__", None)
    model = ("--model", models[0])
    assert "there is nothing to verify" in refusal("evaluate", *model)
    assert "leave the images" in refusal(
        "evaluate", *model, "--val", sets[0], "--images", tmp_path / "images"
    )
    assert "given 2 times" in refusal("evaluate", *model, *model, "--val", sets[0])
    assert "given 2 times" in refusal("evaluate", *model, "--val", sets[0], "--val", sets[0])
    assert "no such file or folder" in refusal("evaluate", *model, "--val", tmp_path / "none.bin")
    assert "--images" in refusal("evaluate", *model, "--pairs", tmp_path / "list.txt")
    alike = tmp_path / "alike.txt"
    alike.write_text("p0/1.png p0/2.png 1\n" * 20)
    images = ("--images", tmp_path / "images")
    assert f"{alike}: all 20 pairs are 'same' pairs" in refusal(
        "evaluate", *model, "--val", alike, *images
    )
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)  # root may write anywhere
    (tmp_path / "out").mkdir()
    for output in (tmp_path / "out", tmp_path / "out" / "new" / "folder"):
        message = refusal("evaluate", *model, "--val", sets[0], "--output", output)
        assert f"output {output} cannot be written, {tmp_path / 'out'} is not yours" in message
    sets[1].write_bytes(b"cposix\nsystem\n(S'echo'\ntR.")
    assert "asks for posix.system" in refusal(
        "evaluate", *model, "--val", sets[0], "--val", sets[1]
    )


def test_an_image_of_a_set_that_is_none_is_named(refusal, models, tmp_path, pairs):
    (tmp_path / "images" / "p0" / "1.png").write_bytes(b"no image")
    write_bin(tmp_path / "broken.bin", pairs)
    message = refusal("evaluate", "--model", models[0], "--val", tmp_path / "broken.bin")
    assert message.startswith(f"{tmp_path / 'broken.bin'}/00000: cannot read the image")


@needs_faces
def test_real_faces_score_the_same_from_every_kind_of_set(printed, tmp_path):
    model = ("--model", FACES / "weights" / "mobilefacenet_paper.onnx", "--std", 128, "--no-flip")
    root = FACES / "lfw112" / "test"
    lines = (FACES / "lfw112" / "pairsDevTest.txt").read_text().splitlines()[1:]
    text = tmp_path / "some.txt"
    text.write_text("\n".join(["40", *lines[:40], *lines[500:540]]) + "\n")
    pairs = open_verification(text, root)
    write_bin(tmp_path / "some.bin", pairs)
    write_container(tmp_path / "some.zip", pairs)
    listed = ("--pairs", text, "--images", root)
    for name, given in {
        "list": listed,
        "bin": ("--val", tmp_path / "some.bin"),
        "zip": ("--val", tmp_path / "some.zip"),
    }.items():
        printed("evaluate", *model, *given, "--output", tmp_path / name)
    metrics = [(tmp_path / name / "metrics.json").read_text() for name in ("list", "bin", "zip")]
    assert metrics[0] == metrics[1] == metrics[2]
    assert json.loads(metrics[0])["accuracy"] > 0.95
