"""`marginface bench losses`: what it prints, writes and refuses."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from marginface.benchmarking import interleave, ratios
from marginface.benchmarking.losses import measure, parse_sizes


@pytest.mark.parametrize("backend", ["torch", "tf"])
def test_what_is_measured(cli, tmp_path, backend):
    pytest.importorskip({"torch": "torch", "tf": "tensorflow"}[backend])
    status, out, _ = cli(
        "bench",
        *("losses", "--backend", backend, "--losses", "arcface,adaface", "--sizes", "4x30"),
        *("--rounds", 2, "--output", tmp_path / "out"),
    )
    assert status == 0
    assert f"{backend}, batch 4, 30 classes" in out
    record = json.loads((tmp_path / "out" / "losses.json").read_text())
    assert [cost["name"] for cost in record["costs"]] == ["normface", "arcface", "adaface"]
    for cost in record["costs"]:
        assert len(cost["seconds"]) == 2
        assert all(0 < each < 60 for each in cost["seconds"])
        middle, low, high = cost["to_base"]
        assert 0 < low <= middle <= high
    assert record["costs"][0]["to_base"] == [1, 1, 1]
    assert record["machine"]["cores"] >= 1
    assert np.asarray(Image.open(tmp_path / "out" / "losses.png").convert("RGB")).std() > 10


def test_rivals_take_turns():
    order = []
    rivals = {name: lambda name=name: order.append(name) for name in ("ours", "theirs")}
    seconds = interleave(rivals, rounds=3, repeats=1, warm_up=1)
    assert order == ["ours", "theirs"] * 4
    assert {name: len(values) for name, values in seconds.items()} == {"ours": 3, "theirs": 3}


def test_ratios_are_within_a_round():
    seconds = {"base": [1.0, 2.0, 6.0], "rival": [2.0, 2.0, 2.0]}
    assert ratios(seconds, "base", "rival") == (1.0, 0.5, 3.0)


def test_a_loss_that_is_not_finite_is_no_result():
    pytest.importorskip("torch")
    with pytest.raises(RuntimeError, match="the loss of broken is not finite"):
        measure("torch", [], 2, 3, rounds=1, rivals=lambda *_: {"broken": lambda: math.nan})


def test_sizes():
    assert parse_sizes("128x10000, 512x7") == [(128, 10000), (512, 7)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["losses", "--losses", "arcfase"], "did you mean 'arcface'"),
        (["losses", "--backend", "jax"], "unknown backend 'jax'"),
        (["losses", "--sizes", "128"], "expected batch x classes such as"),
        (["losses", "--sizes", "0x5"], "expected batch x classes such as"),
        (["heads"], "'heads' is not"),
    ],
)
def test_refusals(cli, arguments, said):
    status, _, error = cli("bench", *arguments)
    assert status == 2
    assert said in error
    assert error.strip().count("\n") == 0


def test_output_must_be_a_folder(cli, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, error = cli("bench", "losses", "--output", tmp_path / "file")
    assert status == 2
    assert "needs a folder, but" in error
