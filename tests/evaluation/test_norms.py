"""Norms that do not vary tell nothing of quality: no curve is drawn of them, and it is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from reports import example

from marginface.cli.embed import embed
from marginface.cli.report import report
from marginface.cli.templates import templates
from marginface.evaluation.evaluate import distinct_images
from marginface.evaluation.rejection import norms_vary
from marginface.report.collect import measure

ENDS = {
    "plain": "y = Identity(f)",
    "unit": "y = LpNormalization <axis = 1> (f)",
    "half": "h = Cast <to = 10> (f) u = LpNormalization <axis = 1> (h) y = Cast <to = 1> (u)",
    "scaled": "u = LpNormalization <axis = 1> (f) y = Mul (u, s)",
}

app = typer.Typer(pretty_exceptions_enable=False)
for command in (report, embed, templates):
    app.command()(command)


@pytest.fixture
def models(tmp_path) -> dict[str, Path]:
    """Return a model that keeps the norms of averaged pixels, and others that normalise."""
    pool = "p = AveragePool <kernel_shape = [56, 56], strides = [56, 56]> (x) f = Flatten(p)"
    paths = {}
    for name, end in ENDS.items():
        text = (
            f"(float[N, 3, 112, 112] x) => (float[N, 12] y) <float s = {{64}}> {{ {pool} {end} }}"
        )
        header = '<ir_version: 8, opset_import: ["": 17]> tiny '
        paths[name] = tmp_path / f"{name}.onnx"
        onnx.save(onnx.parser.parse_model(header + text), paths[name])
    return paths


def unit(kind: type, size: int, *, norm_in: type = np.float32) -> np.ndarray:
    """Return vectors that were normalised and kept in number types."""
    values = np.random.default_rng(size).normal(size=(2000, size)).astype(norm_in)
    lengths = np.sqrt(np.sum(values.astype(np.float32) ** 2, axis=1, keepdims=True))
    return (values / lengths.astype(norm_in)).astype(kind)


def range_of(values: np.ndarray) -> tuple[float, float]:
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    return norms.min(), norms.max()


@pytest.mark.parametrize("size", [2, 4, 128, 512])
@pytest.mark.parametrize("scale", [1, 30, 64])
@pytest.mark.parametrize(
    ("kind", "norm_in"),
    [
        (np.float64, np.float64),
        (np.float32, np.float32),
        (np.float16, np.float32),
        (np.float16, np.float16),
    ],
)
def test_vectors_that_were_normalised_have_norms_that_do_not_vary(size, scale, kind, norm_in):
    values = unit(kind, size, norm_in=norm_in)
    assert not norms_vary(*range_of(values))
    assert not norms_vary(*range_of(values.astype(np.float32) * np.float32(scale)))


@pytest.mark.parametrize("spread", [0.003, 0.01, 0.5])
@pytest.mark.parametrize("scale", [1e-3, 1, 64])
def test_norms_that_vary_a_little_vary(spread, scale):
    longer = 1 + spread * np.random.default_rng(0).random((2000, 1))
    assert norms_vary(*range_of(unit(np.float32, 128) * longer * scale))
    assert norms_vary(*range_of((unit(np.float32, 128) * longer).astype(np.float16)))


@pytest.mark.parametrize("option", ["--flip", "--no-flip"])
def test_a_report_leaves_out_the_curves_of_models_that_normalise(
    printed, option, models, tiny_faces, pairs_file, tmp_path
):
    output = tmp_path / "report"
    given = ("--images", tiny_faces, "--pairs", pairs_file, "--output", output, option)
    text = printed("report", *models.values(), *given)
    lines = [line for line in text.splitlines() if "no error versus reject curve" in line]
    assert [line.partition(":")[0] for line in lines] == ["unit", "half", "scaled"]
    page = (output / "index.html").read_text("utf-8")
    data = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert data is not None
    found = [row[0]["reject"] for row in json.loads(data[1])["results"]]
    assert found[0]["share"][:2] == [0, 0.01]
    assert found[1:] == [None] * 3


@pytest.mark.parametrize("flip", [[], ["--flip"]])
@pytest.mark.parametrize("name", ENDS)
def test_templates_are_not_rejected_by_norms_of_a_model_that_normalises(
    printed, models, tiny_faces, tmp_path, name, flip
):
    path = tmp_path / "e.npz"
    printed("embed", "--model", models[name], "--images", tiny_faces, "--output", path, *flip)
    images = sorted(str(each.relative_to(tiny_faces)) for each in tiny_faces.glob("*/*.png"))
    media = [f"{image} {at} {at}\n" for at, image in enumerate(images)]
    (tmp_path / "mid.txt").write_text("".join(media))
    pairs = [f"{a} {b} {int(a // 8 == b // 8)}\n" for a in range(24) for b in range(a)]
    (tmp_path / "pairs.txt").write_text("".join(pairs))
    lists = ("--media", tmp_path / "mid.txt", "--pairs", tmp_path / "pairs.txt")
    text = printed("templates", "--embeddings", path, *lists, "--output", tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert ("no error versus reject curve" in text) == (name != "plain")
    assert (metrics["reject"] is None) == (name != "plain")
    shortest, longest = metrics["embeddings"]["norms"]
    assert norms_vary(shortest, longest) == (name == "plain")


@pytest.mark.parametrize("scale", [1, 64])
def test_embeddings_of_one_norm_give_no_curve(scale):
    pairs = example().sets[0]
    values = np.random.default_rng(0).normal(size=(len(distinct_images(pairs)), 8))
    one = (scale * values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)
    assert measure("m", pairs, one.astype(np.float32)).rejection is None
    assert measure("m", pairs, values.astype(np.float32)).rejection is not None
    assert measure("m", pairs, values.astype(np.float32), by_norm=False).rejection is None
