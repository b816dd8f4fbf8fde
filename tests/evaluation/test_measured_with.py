"""What figures were measured with: one record in every file, and the threshold of every rate."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reports import example

from marginface import __version__
from marginface.cli.evaluate import evaluate
from marginface.cli.report import report
from marginface.data.verification.bin_file import write_bin
from marginface.data.verification.container import write_container
from marginface.data.verification.opening import open_verification
from marginface.embeddings.embedder import open_embedder
from marginface.embeddings.origin import Origin
from marginface.evaluation.measured_with import KEY, MeasuredWith, set_fingerprint
from marginface.evaluation.verification import FAR_TARGETS, verify
from marginface.report.page import render

PIXELS = """<ir_version: 8, opset_import: ["": 17]>
tiny (uint8[N, 112, 112, 3] x) => (float[N, 12] y) {
    f = Cast<to = 1> (x) t = Transpose<perm = [0, 3, 1, 2]> (f)
    pooled = AveragePool<kernel_shape = [56, 56], strides = [56, 56]>(t) y = Flatten(pooled) }"""
FLOATS = """<ir_version: 8, opset_import: ["": 17]>
tiny (float[N, 3, %d, %d] x) => (float[N, 12] y) {
    pooled = AveragePool<kernel_shape = [%d, %d], strides = [%d, %d]>(x) y = Flatten(pooled) }"""

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(evaluate)
app.command()(report)


def written(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "m.onnx", FLOATS % (112, 112, *[56] * 4))


@pytest.fixture
def pairs(tmp_path: Path) -> list[object]:
    """Six people, two noisy pictures each: the options that name a list of their pairs."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "images"
    folder.mkdir()
    for person in range(6):
        own = rng.integers(60, 196, (4, 4, 3))
        for picture in (1, 2):
            noisy = (own + rng.integers(-90, 91, (4, 4, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy.repeat(28, 0).repeat(28, 1)).save(
                folder / f"{person}_{picture}.png"
            )
    lines = [f"{n}_1.png {n}_2.png 1\n{n}_1.png {(n + 1) % 6}_2.png 0\n" for n in range(6)]
    (tmp_path / "list.txt").write_text("".join(lines))
    return ["--pairs", tmp_path / "list.txt", "--images", folder]


def records(output: Path) -> dict[str, object]:
    """Return the record of metrics.json, the same as that of scores.parquet."""
    metrics = json.loads((output / "metrics.json").read_text())
    metadata = pq.read_schema(output / "scores.parquet").metadata
    assert json.loads(metadata[KEY.encode()]) == metrics["measured_with"]
    return dict(metrics["measured_with"])


PLAIN = {
    "version": 1,
    "mean": [127.5] * 3,
    "std": [127.5] * 3,
    "channels": "rgb",
    "crop": None,
    "input_size": [112, 112],
    "flip": True,
    "resize": False,
    "backend": "onnx",
    "marginface": __version__,
    "model": "m",
    "set": "list",
    "pairs": 12,
}


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ((), {}),
        (("--mean", "1,2,3"), {"mean": [1, 2, 3]}),
        (("--std", 128), {"std": [128] * 3}),
        (("--channels", "bgr"), {"channels": "bgr"}),
        (("--crop", "0,0,112,112"), {"crop": [0, 0, 112, 112]}),
        (("--no-flip",), {"flip": False}),
        (("--resize",), {"resize": True}),
    ],
)
def test_every_option_is_in_the_record(printed, model, pairs, tmp_path, options, changes):
    printed("evaluate", "--model", model, *pairs, *options, "--output", tmp_path / "out")
    found = records(tmp_path / "out")
    shortest, longest = found.pop("norms")
    assert 0 < shortest < longest
    set_print, fingerprint = found.pop("set_fingerprint"), found.pop("fingerprint")
    assert found == PLAIN | changes
    listed = open_verification(pairs[1], pairs[3])
    assert set_print == set_fingerprint(listed)
    names = changes.keys() & {"mean", "std", "channels", "crop"}
    assert (
        fingerprint == open_embedder(model, **{name: changes[name] for name in names}).fingerprint
    )
    assert (fingerprint == open_embedder(model).fingerprint) == (not names)


def test_a_network_that_takes_pixels_and_another_size_are_told(printed, pairs, tmp_path):
    pixels = written(tmp_path / "pixels.onnx", PIXELS)
    small = written(tmp_path / "small.onnx", FLOATS % (112, 96, 56, 48, 56, 48))
    printed("evaluate", "--model", pixels, *pairs, "--output", tmp_path / "a")
    found = records(tmp_path / "a")
    assert (found["mean"], found["std"], found["channels"]) == (None, None, "rgb")
    crop = ("--crop", "0,8,112,96")
    printed("evaluate", "--model", small, *pairs, *crop, "--output", tmp_path / "b")
    found = records(tmp_path / "b")
    assert (found["input_size"], found["crop"]) == ([112, 96], [0, 8, 112, 96])


def test_the_backend_is_what_ran_the_network(model):
    embedder = replace(open_embedder(model), backend="tf")
    origin = Origin.of(embedder, flip=False, resize=False, norms=(1.0, 2.0))
    assert MeasuredWith("m", origin, "s", "0" * 64, 3).to_json()["backend"] == "tf"


def test_tables_of_several_models_have_the_same_record_and_thresholds(
    printed, model, pairs, tmp_path
):
    other = written(tmp_path / "other.onnx", PIXELS)
    out = tmp_path / "out"
    text = printed("evaluate", "--model", model, "--model", other, *pairs, "--output", out)
    assert "--flip" in text
    rows = json.loads((out / "comparison.json").read_text())
    with (out / "comparison.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(rows) == len(lines) == 2
    for row, line in zip(rows, lines, strict=True):
        record = records(out / row["model"] / "list")
        assert row["measured_with"] == record
        for key in record.keys() - {"version", "model", "set"}:
            value = record[key]
            expected = (
                "" if value is None else value if isinstance(value, str) else json.dumps(value)
            )
            assert line[key] == expected
        assert float(line["threshold"]) == row["threshold"]
        assert float(line["best_accuracy"]) == row["best_accuracy"]
        for target in FAR_TARGETS:
            threshold = row["tar_at_far_threshold"][target]
            assert float(line[f"tar_at_{target}_threshold"]) == threshold
        assert f"{row['tar_at_far_threshold']['1e-3']:.4f}" in text
    assert rows[0]["measured_with"]["fingerprint"] != rows[1]["measured_with"]["fingerprint"]


@pytest.mark.parametrize(("flip", "told"), [("--flip", "summed"), ("--no-flip", "left out")])
def test_the_table_names_the_flip_and_the_thresholds_are_those_of_the_scores(
    printed, model, pairs, tmp_path, flip, told
):
    text = printed("evaluate", "--model", model, *pairs, flip, "--output", tmp_path / "out")
    assert f"{told} ({flip})" in text
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    table = pq.read_table(tmp_path / "out" / "scores.parquet")
    scores, same = table["score"].to_numpy(), table["same"].to_numpy()
    for target, threshold in metrics["tar_at_far_threshold"].items():
        assert np.mean(scores[same] >= threshold) == metrics["tar_at_far"][target]
        assert np.mean(scores[~same] >= threshold) <= float(target)
        assert f"{threshold:.4f}" in text


def test_the_thresholds_of_both_ways_differ(printed, model, pairs, tmp_path):
    found = {}
    for flip in ("--flip", "--no-flip"):
        printed("evaluate", "--model", model, *pairs, flip, "--output", tmp_path / flip)
        metrics = json.loads((tmp_path / flip / "metrics.json").read_text())
        found[flip] = metrics["tar_at_far_threshold"]["1e-1"]
        assert metrics["measured_with"]["flip"] == (flip == "--flip")
    assert abs(found["--flip"] - found["--no-flip"]) > 0.005


few_scores = st.sampled_from([-1.0, 0.0, 0.1, 0.30000000000000004, 0.3, 1.0])


@given(st.lists(st.tuples(few_scores, st.booleans()), min_size=4, max_size=60))
def test_no_lower_threshold_keeps_to_the_rate(drawn):
    scores = np.array([score for score, _ in drawn] + [0.5, 0.2])
    same = np.array([flag for _, flag in drawn] + [True, False])
    result = verify(scores, same, np.arange(len(same)) % 2)
    for target, threshold in result.tar_at_far_threshold.items():
        assert np.mean(scores[same] >= threshold) == result.tar_at_far[target]
        assert np.mean(scores[~same] >= threshold) <= float(target)
        lower = np.nextafter(threshold, -np.inf)
        assert np.mean(scores[~same] >= lower) > float(target)


def test_a_sets_fingerprint_is_that_of_its_content(pairs, tmp_path):
    listed = open_verification(pairs[1], pairs[3])
    write_bin(tmp_path / "a.bin", listed)
    write_container(tmp_path / "a.zip", listed)
    fingerprint = set_fingerprint(listed)
    for name in ("a.bin", "a.zip"):
        assert set_fingerprint(open_verification(tmp_path / name)) == fingerprint
    others = [
        replace(listed, same=~listed.same),
        replace(listed, fold=listed.fold[::-1].copy()),
        replace(listed, first=listed.second, second=listed.first),
    ]
    path = pairs[3] / "0_1.png"
    found = [set_fingerprint(each) for each in others]
    path.write_bytes(path.read_bytes() + b" ")
    assert len({fingerprint, *found, set_fingerprint(listed)}) == 5


def test_the_report_says_it_too(printed, model, pairs, tmp_path):
    printed("report", model, *pairs, "--no-flip", "--std", 128, "--output", tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    digits = open_embedder(model, std=128).fingerprint[:12]
    assert f"model {digits}; 112x112 RGB; mean 127.5, std 128; onnx" in page
    assert "mirror image left out (--no-flip)" in page
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    shown = data["results"][0][0]
    told = ("norms", "fingerprint", "set_fingerprint")
    changes = {
        "std": [128] * 3,
        "flip": False,
        **{key: shown["measured_with"][key] for key in told},
    }
    assert shown["measured_with"] == PLAIN | changes
    assert f"≥ {shown['tar_at_far_threshold']['1e-1']:.4f}" in page
    assert "mirror image" not in render(example())  # measured by hand: nothing to say


def test_what_was_left_out_is_told_by_set_and_fold(printed, model, pairs, tmp_path):
    whole = shutil.copytree(pairs[3], tmp_path / "whole")
    (pairs[3] / "0_1.png").unlink()  # of a same pair and a different one
    (pairs[3] / "4_2.png").write_bytes(b"broken")  # likewise
    for name, folds in (("agedb", (1, 1, 2, 2, 3, 3)), ("two", (1, 2, 1, 2, 1, 2))):
        rows = [
            f"{person}_1.png,{(person + step) % 6}_2.png,{1 - step},{fold}\n"
            for person, fold in enumerate(folds)
            for step in (0, 1)
        ]
        (tmp_path / f"{name}.csv").write_text("first,second,same,fold\n" + "".join(rows))
    sets = ("--val", tmp_path / "agedb.csv", "--val", tmp_path / "two.csv", "--skip-bad")
    out = tmp_path / "out"
    given = ("--images", pairs[3], *sets, "--output")
    text = printed("evaluate", "--model", model, *given, out)
    lost = {"agedb": [2, 1, 1], "two": [3, 1]}
    lines = json.loads((out / "comparison.json").read_text())
    assert {line["set"]: line["measured_with"]["left_out"] for line in lines} == lost
    with (out / "comparison.csv").open() as file:
        assert {row["set"]: json.loads(row["left_out"]) for row in csv.DictReader(file)} == lost
    assert "agedb: 4 pairs left out" in text
    for name, each in lost.items():
        record = records(out / "m" / name)
        assert (record["pairs"], record["left_out"]) == (8, each)
    printed("report", model, *given, tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert "4 + 4 pairs; 4 left out: 2 of fold 1, 1 of fold 2, 1 of fold 3" in page
    one = ("--images", whole, *sets[:2], "--skip-bad", "--output", tmp_path / "one")
    assert "left out" not in printed("evaluate", "--model", model, *one)
    assert "left_out" not in records(tmp_path / "one")
