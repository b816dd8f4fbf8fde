"""Real runs at rates that teach nothing say so; others do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = 32
LEARNED_NOTHING = "so the model learned nothing", "so it learned nothing"
LOSSES = {"arcface": ("--scale", 16), "softmax": ()}
RATES = {"1e-9": True, "500": True, "0.05": False}


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Four people of eight noisy pictures each, of a pattern of their own."""
    root, rng = tmp_path_factory.mktemp("data") / "people", np.random.default_rng(0)
    for name in "abcd":
        (root / name).mkdir(parents=True)
        pattern = rng.integers(60, 196, (SIZE, SIZE, 3))
        for number in range(8):
            pixels = pattern + rng.integers(-60, 60, pattern.shape)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")
    return root


def fast(backend: str, loss: str, rate: str) -> bool:
    return backend == "torch" and (loss, rate) in {("arcface", "500"), ("softmax", "0.05")}


@pytest.mark.parametrize(
    ("backend", "loss", "rate"),
    [
        pytest.param(*case, marks=() if fast(*case) else pytest.mark.slow, id="-".join(case))
        for case in ((b, each, r) for b in ("torch", "tf") for each in LOSSES for r in RATES)
    ],
)
def test_a_run_that_learned_nothing_says_so(people, tmp_path, cli, backend, loss, rate):
    network = ("--backbone", "mobilefacenet", "--embedding-size", 16, "--input-size", SIZE)
    length = ("--batch-size", 8, "--max-steps", 40, "--compile", "off")
    places = ("--data", people, "--output", tmp_path / "run", "--backend", backend)
    done = cli("train", *places, *network, *length, "--loss", loss, *LOSSES[loss], "--lr", rate)
    assert done.status == 0
    told = done.stderr.splitlines()[-1]
    assert any(words in told for words in LEARNED_NOTHING) is RATES[rate]
    assert (f"try another --lr (it was {float(rate):g})" in told) is RATES[rate]
