"""The checkpoint that is asked for is the one that is read, by whoever takes a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from runs import save_checkpoint
from tiny_model import save_model

import marginface as mf
from marginface import MarginfaceError, backbones
from marginface.embeddings.embedder import open_embedder
from marginface.model import ModelSpec
from marginface.runs.checkpoints import Checkpoint
from marginface.runs.chosen import check_choice

BEST = {"metric": "lfw:auc", "value": 0.9, "step": 2, "since": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run with checkpoints of steps 1, 2 and 3, the second of which is the best."""
    run = tmp_path_factory.mktemp("runs") / "run"
    weights = backbones.initial_weights(backbones.describe("mobilefacenet", 8), 0)
    for step in (1, 2, 3):
        state = {f"backbone.{name}": value * step for name, value in weights.items()}
        state["head.weight"] = np.ones((3, 8), np.float32)
        extra = {"progress": {"best": BEST if step > 1 else None}}
        save_checkpoint(run / "checkpoints", Checkpoint(step, state, extra))
    (run / "model.json").write_text(json.dumps(ModelSpec("mobilefacenet", 8).to_json()))
    return run


@pytest.fixture(scope="module")
def of_step(run) -> dict[int, str]:
    """The fingerprint of the model of each checkpoint."""
    path = run / "checkpoints"
    return {s: open_embedder(path / f"step-{s:08d}").fingerprint for s in (1, 2, 3)}


@pytest.mark.parametrize(
    ("checkpoint", "step"), [("best", 2), ("last", 3), (None, 3), (1, 1), ("2", 2)]
)
def test_a_model_is_of_the_checkpoint_that_is_chosen(run, of_step, checkpoint, step):
    assert mf.load(run, checkpoint=checkpoint).embedder.fingerprint == of_step[step]


def test_so_is_an_onnx_file(run, printed, tmp_path):
    pytest.importorskip("torch")
    output = tmp_path / "model.onnx"
    printed("export", "--model", run, "--checkpoint", "best", "--output", output)
    images = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    best = run / "checkpoints" / "step-00000002"
    np.testing.assert_allclose(
        mf.load(output).embed(images), mf.load(best).embed(images), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("checkpoint", ["bset", "", "-1", -1, 1.0, True, "1e3", "9" * 30, "²"])
def test_what_is_no_choice_is_refused(checkpoint):
    with pytest.raises(MarginfaceError, match="checkpoint must be best, last or the number of a"):
        check_choice(checkpoint)


@pytest.mark.parametrize("command", ["evaluate", "report", "embed"])
def test_a_step_that_is_not_there_is_refused_by_all(
    run, refusal, tiny_faces, pairs_file, command, tmp_path
):
    given = [command, "--images", tiny_faces, "--checkpoint", 7]
    given += [run] if command == "report" else ["--model", run]
    given += ["--output", tmp_path / ("out.npz" if command == "embed" else "out")]
    given += [] if command == "embed" else ["--pairs", pairs_file]
    told = f"run {run} has no checkpoint of step 7; expected one of 1, 2, 3, last or best"
    assert told in refusal(*given)


def test_one_that_is_named_already_is_not_named_again(run, refusal, tmp_path):
    named = run / "checkpoints" / "step-00000001"
    told = f"is a checkpoint already; leave out --checkpoint last, or give the run's folder {run}"
    for command in ("export", "clean"):
        given = [command, "--run", named, "--checkpoint", "last"]
        given += ["--data", run] if command == "clean" else []
        assert told in refusal(*given, "--output", tmp_path / "out.onnx")


def test_a_file_has_no_checkpoints(refusal, tiny_faces, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08\x12\x00")
    given = ["embed", "--model", tmp_path / "model.onnx", "--checkpoint", "best"]
    told = "is a file, which has no checkpoints; leave out --checkpoint best, or give a run folder"
    assert told in refusal(*given, "--images", tiny_faces, "--output", tmp_path / "out.npz")
    given = ["export", "--model", tmp_path / "model.onnx", "--output", tmp_path / "other.onnx"]
    assert "model.onnx is not an ONNX model, or a damaged one" in refusal(*given)
    save_model(tmp_path / "model.onnx")
    told = "--checkpoint goes with a run; files have none"
    assert told in refusal(*given, "--checkpoint", "best")
