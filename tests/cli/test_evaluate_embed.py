"""`marginface evaluate` and `marginface embed` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import simplejpeg
from PIL import Image
from real_faces import FACES

PEOPLE = 6
GRAPH = """<ir_version: 8, opset_import: ["": 17]>
tiny (float[N, 3, 112, 112] x) => (float[N, 12] y) {
    pooled = AveragePool<kernel_shape = [56, 56], strides = [56, 56]>(x) y = Flatten(pooled) }"""


@pytest.fixture
def model(tmp_path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(onnx.parser.parse_model(GRAPH), path)
    return path


@pytest.fixture
def images(tmp_path) -> Path:
    """Two pictures each of people who differ in the colours of their four quarters."""
    rng = np.random.default_rng(0)
    for person in range(PEOPLE):
        colours = rng.integers(40, 216, (2, 2, 3)).repeat(56, 0).repeat(56, 1)
        folder = tmp_path / "images" / f"p{person}"
        folder.mkdir(parents=True)
        for picture in (1, 2):
            noisy = colours + rng.integers(-20, 21, colours.shape)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / f"p{person}_{picture:04d}.png")
    return tmp_path / "images"


@pytest.fixture
def pairs(tmp_path) -> Path:
    same = [f"p{person}\t1\t2" for person in range(PEOPLE)]
    different = [f"p{person}\t1\tp{(person + 1) % PEOPLE}\t2" for person in range(PEOPLE)]
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join([str(PEOPLE), *same, *different]) + "\n")
    return path


def test_evaluate_prints_a_table_and_writes_the_report(cli, model, images, pairs, tmp_path):
    arguments = (
        "--model",
        model,
        "--images",
        images,
        "--pairs",
        pairs,
        "--output",
        tmp_path / "out",
    )
    result = cli("evaluate", *arguments)
    assert result.status == 0, result.stderr
    assert "accuracy, 6 folds" in result.stdout  # six pairs of each kind
    assert "TAR at FAR 1e-4 (no false accept)" in result.stdout
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics) >= {"accuracy", "accuracy_std", "auc", "eer", "tar_at_far", "threshold"}
    assert metrics["accuracy"] == metrics["auc"] == 1.0
    assert f"{metrics['accuracy']:.2%}" in result.stdout
    assert (tmp_path / "out" / "verification.png").stat().st_size > 10_000


def test_evaluate_takes_the_folds_that_the_pairs_file_declares(cli, model, images, pairs, tmp_path):
    _, *lines = pairs.read_text().splitlines()
    same, different = lines[:PEOPLE], lines[PEOPLE:]
    folds = [
        line for at in range(0, PEOPLE, 2) for line in same[at : at + 2] + different[at : at + 2]
    ]
    pairs.write_text("\n".join(["3\t2", *folds]) + "\n")
    arguments = (
        "--model",
        model,
        "--images",
        images,
        "--pairs",
        pairs,
        "--output",
        tmp_path / "out",
    )
    result = cli("evaluate", *arguments)
    assert "accuracy, 3 folds" in result.stdout
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["folds"] == len(metrics["fold_accuracies"]) == 3


def test_evaluate_sums_the_mirror_image_unless_told_not_to(cli, model, images, pairs, tmp_path):
    thresholds = {}
    for flip in ("--flip", "--no-flip"):
        arguments = ("--model", model, "--images", images, "--pairs", pairs, "--batch-size", 5)
        assert cli("evaluate", *arguments, flip, "--output", tmp_path / flip).status == 0
        thresholds[flip] = json.loads((tmp_path / flip / "metrics.json").read_text())["threshold"]
    vectors = {}
    for path in images.rglob("*.png"):
        pixels = (np.array(Image.open(path)).astype(float) - 127.5) / 127.5
        quarters = pixels.reshape(2, 56, 2, 56, 3).mean((1, 3))
        vectors[path.stem] = {
            "--no-flip": quarters.ravel(),
            "--flip": (quarters + quarters[:, ::-1]).ravel(),
        }

    def score(flip: str, first: str, second: str) -> float:
        a, b = vectors[first][flip], vectors[second][flip]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    for flip, threshold in thresholds.items():
        same = [score(flip, f"p{n}_0001", f"p{n}_0002") for n in range(PEOPLE)]
        other = [score(flip, f"p{n}_0001", f"p{(n + 1) % PEOPLE}_0002") for n in range(PEOPLE)]
        assert threshold == pytest.approx((min(same) + max(other)) / 2, abs=1e-5)
    assert abs(thresholds["--flip"] - thresholds["--no-flip"]) > 1e-3


def test_evaluate_refuses_before_the_model_runs(
    cli, refusal, model, images, pairs, monkeypatch, tmp_path
):
    class Untouched(Exception):
        pass

    def touched(*_: object) -> None:
        raise Untouched

    monkeypatch.setattr("marginface.embeddings.embedder.Embedder.__call__", touched)
    arguments = ("--model", model, "--images", images, "--pairs", pairs)
    status, _, err = cli("evaluate", *arguments)
    assert (status, err.strip().endswith("Untouched")) == (70, True)  # an error of ours, not theirs

    last = images / "p5" / "p5_0002.png"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    told = refusal("evaluate", *arguments)
    assert "p5_0002.png: cannot read the image" in told
    assert told.endswith(", or leave such out with --skip-bad")
    Image.new("RGB", (96, 112)).save(last)
    assert "p5_0002.png: the image is 112x96" in refusal("evaluate", *arguments)
    last.write_bytes(whole)

    lines = pairs.read_text()
    pairs.write_text(lines.replace("p3\t1\t2", "p3\t1\t7"))
    assert f"{pairs}:5: no image" in refusal("evaluate", *arguments)
    pairs.write_text(lines)
    (tmp_path / "file").write_text("")
    assert "needs a folder" in refusal("evaluate", *arguments, "--output", tmp_path / "file")
    assert "does not fit" in refusal("evaluate", *arguments, "--crop", "1,0,112,112")
    assert "--mean must be one number or three, got '1,2'" in refusal(
        "evaluate", *arguments, "--mean", "1,2"
    )
    assert "--std must be one number or three" in refusal("evaluate", *arguments, "--std", "high")
    assert "--crop must be top,left,height,width in whole numbers, got '1'" in refusal(
        "evaluate", *arguments, "--crop", "1"
    )
    assert "did you mean 'torch'" in refusal("evaluate", *arguments, "--backend", "toch")


def test_crop_and_resize_of_images_of_another_size(cli, refusal, model, images, pairs):
    for path in images.rglob("*.png"):
        Image.open(path).resize((140, 120)).save(path)
    arguments = ("--model", model, "--images", images, "--pairs", pairs)
    hint = refusal("evaluate", *arguments)
    assert "120x140" in hint
    assert "--resize" in hint
    assert "--crop" in hint
    assert cli("evaluate", *arguments, "--crop", "4,14,112,112").status == 0
    assert cli("evaluate", *arguments, "--resize").status == 0


def test_images_smaller_than_the_model_are_not_to_be_cropped(refusal, model, images, pairs):
    for path in images.rglob("*.png"):
        Image.open(path).resize((140, 90)).save(path)
    hint = refusal("evaluate", "--model", model, "--images", images, "--pairs", pairs)
    assert "90x140" in hint
    assert "--resize" in hint
    assert "--crop" not in hint


def test_evaluate_decodes_an_image_once(cli, model, images, pairs, monkeypatch):
    decoded = []
    decode = simplejpeg.decode_jpeg

    def counting(encoded):
        decoded.append(encoded)
        return decode(encoded)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", counting)
    for path in images.rglob("*.png"):
        Image.open(path).save(path, "jpeg")
    result = cli("evaluate", "--model", model, "--images", images, "--pairs", pairs)
    assert result.status == 0, result.stderr
    assert len(decoded) == len(set(decoded)) == 2 * PEOPLE


def test_embed_writes_every_image(cli, refusal, model, images, tmp_path):
    output = tmp_path / "out.parquet"
    result = cli("embed", "--model", model, "--images", images, "--output", output)
    assert result.status == 0, result.stderr
    assert f"wrote 12 embeddings to {output} (12 numbers each)" in result.stdout
    table = pq.read_table(output)
    assert table.column("identity").to_pylist() == sorted(
        f"p{n}" for n in range(PEOPLE) for _ in "12"
    )
    again = refusal("embed", "--model", model, "--images", images, "--output", output)
    assert "pass --overwrite" in again


def test_embed_counts_and_names_what_it_skips(cli, refusal, model, images, tmp_path):
    (images / "p0" / "[bold]odd.png").write_bytes(b"no image")
    Image.new("RGB", (96, 112)).save(images / "p1" / "small.png")
    arguments = ("--model", model, "--images", images, "--output", tmp_path / "out.npz")
    told = refusal("embed", *arguments)
    assert "odd.png: cannot read the image" in told
    assert told.endswith(", or leave such out with --skip-bad")
    assert cli("embed", *arguments).stderr.count("\n") == 1  # nothing before that line
    result = cli("embed", *arguments, "--skip-bad")
    assert result.status == 0, result.stderr
    assert "2 bad images skipped" in result.stdout
    assert f"skipped: {images}/p0/[bold]odd.png: cannot read" in result.stdout
    assert f"skipped: {images}/p1/small.png: the image is 112x96" in result.stdout
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["embedding"].shape == (12, 12)


def test_embed_refuses_missing_things_first(refusal, model, images, tmp_path):
    out = ("--output", tmp_path / "out.npz")
    assert "no such file or folder: none" in refusal(
        "embed", "--model", model, "--images", "none", *out
    )
    missing = refusal("embed", "--model", tmp_path / "none", "--images", images, *out)
    assert "no such file or folder" in missing
    assert not (tmp_path / "out.npz.parts").exists()


def test_a_public_model_separates_real_faces(cli, tmp_path):
    weights = FACES / "weights" / "mobilefacenet_paper.onnx"
    if not weights.exists():
        pytest.skip(f"no {weights}")
    lines = (FACES / "lfw112" / "pairsDevTest.txt").read_text().splitlines()[1:]
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("\n".join(["20", *lines[:20], *lines[500:520]]) + "\n")
    arguments = ("--images", FACES / "lfw112" / "test", "--pairs", pairs, "--std", 128)
    result = cli(
        "evaluate", "--model", weights, *arguments, "--output", tmp_path / "out", "--no-flip"
    )
    assert result.status == 0, result.stderr
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["best_accuracy"] >= 0.97
