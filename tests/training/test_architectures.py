"""Every network trains from the command line at its own size, and the run is used.

The three largest, each like smaller ones of its family, take one step and are not evaluated.
"""

from __future__ import annotations

import importlib.util
import json
from math import isfinite
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from networks import NETWORKS

from marginface.demo.faces import write_demo_set

MODULES = {"torch": "torch", "tf": "tensorflow"}
LARGEST = {"iresnet200", "ir_se152_evolve", "vit_l_dp005_mask_005"}
# Until the statistics of BatchNorm have settled, GhostFaceNet's gates see such large values that
# rounding shows: 3e-4 of an embedding's length after three steps, 2e-6 after 30; 1e-4 is allowed.
STEPS = dict.fromkeys(LARGEST, 1) | {"ghostfacenet_v1": 30, "ghostfacenet_v1_s1": 30}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn people to learn, four others to verify."""
    return write_demo_set(tmp_path_factory.mktemp("people") / "drawn", 4, 3, 4, 2, pairs_per_fold=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("backend", MODULES)
def test_trains_and_is_used(printed, people, tmp_path, backend, name):
    if importlib.util.find_spec(MODULES[backend]) is None:
        pytest.skip(f"backend {backend} is not installed")
    run, model, steps = tmp_path / "run", tmp_path / "model.onnx", STEPS.get(name, 3)
    printed(
        *("train", "--backend", backend, "--data", people / "train", "--output", run),
        *("--backbone", name, "--embedding-size", 32, "--batch-size", 4, "--max-steps", steps),
        *("--lr", 0.001, "--log-every", 1, "--threads", 1, "--compile", "off"),
    )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert len(losses) == steps
    assert all(map(isfinite, losses))

    printed("export", "--run", run, "--output", model)  # which compares ONNX with the framework
    test = people / "test"
    embeddings = embed(printed, model, test, tmp_path / "embeddings.parquet")
    assert embeddings.shape == (8, 32)
    assert np.isfinite(embeddings).all()
    if name not in LARGEST:
        report, pairs = tmp_path / "report", people / "pairs.txt"
        verification = ("--images", test, "--pairs", pairs, "--output", report)
        printed("evaluate", "--model", run, "--backend", backend, *verification)
        assert 0 <= json.loads((report / "metrics.json").read_text())["auc"] <= 1


def embed(printed, model: Path, images: Path, output: Path) -> np.ndarray:
    printed("embed", "--model", model, "--images", images, "--output", output)
    return np.stack(pyarrow.parquet.read_table(output)["embedding"].to_numpy())
