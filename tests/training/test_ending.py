import json
import re
import shlex
from importlib.util import find_spec

import numpy as np
import pytest
from rich.console import Console

from marginface.runs.folder import RunFolder
from marginface.training.config.keys import TrainConfig
from marginface.training.ending import closing_words, not_fallen
from marginface.training.progress import Progress
from marginface.training.trainer import train

ALIKE = np.full((4, 8), 0.3, np.float32) + np.arange(4, dtype=np.float32)[:, None] * 1e-7


@pytest.mark.parametrize(
    ("losses", "fell"),
    [
        ([9.0, 6.0, 3.0], True),
        ([9.0, 9.1, 8.95], False),
        ([9.0, 30.0, 300.0], False),
        ([40.0] * 50, False),
        ([40.0 - 0.1 * k for k in range(50)], True),
        ([], True),
        ([9.0], True),
    ],
)
def test_a_loss_that_did_not_fall_is_named(losses, fell):
    assert ("the loss did not fall" in not_fallen(losses)) is not fell


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ({"val": "lfw.bin"}, ["--val", "lfw.bin"]),
        ({"val": ["a b.bin", "c.bin"]}, ["--val", "a b.bin", "--val", "c.bin"]),
        (
            {"val_pairs": "pairs.txt", "val_images": "im ages"},
            ["--pairs", "pairs.txt", "--images", "im ages"],
        ),
        (
            {"val": "list.txt", "val_images": "images", "resize": True},
            ["--val", "list.txt", "--images", "images", "--resize"],
        ),
        ({"val": "lfw.zip", "skip_bad": True}, ["--val", "lfw.zip", "--skip-bad"]),
    ],
)
def test_the_end_evaluates_on_the_runs_own_pairs(tmp_path, keys, options):
    run = tmp_path / "o'ne run"
    told = closing_words(TrainConfig(data="faces", output=run, **keys), Progress(40), ALIKE)
    assert "learned nothing" in told  # which stands before the command, not behind it
    command = shlex.split(told.partition("evaluate: ")[2])
    backend = [] if find_spec("onnxruntime") else ["--backend", "torch"]
    assert command == ["marginface", "evaluate", "--model", str(run), *options, *backend]


def test_without_pairs_no_command_that_fails_is_given(tmp_path):
    told = closing_words(TrainConfig(data="faces", output=tmp_path / "run"), Progress(7))
    assert re.search(r"no pairs .* marginface evaluate --help", told)


MODELS = {
    "one embedding": (ALIKE, 30, True),
    "one direction": (ALIKE * np.arange(1, 5)[:, None], 400, True),
    "zero": (np.zeros((4, 8)), 400, True),
    "hardly trained": (ALIKE, 29, False),
    "near": (np.eye(4) * 0.01 + 1, 400, False),
    "apart": (np.eye(4), 400, False),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_tells_nothing_apart_is_named(tmp_path, kind):
    embeddings, step, named = MODELS[kind]
    config = TrainConfig(data="faces", output=tmp_path / "run", lr=500)
    told = closing_words(config, Progress(step), embeddings)
    assert ("all images the same embedding, so it learned nothing" in told) is named
    assert ("another --lr (it was 500)" in told) is named


@pytest.mark.parametrize(
    ("step", "init", "judged"), [(29, None, False), (30, None, True), (30, "weights.pt", False)]
)
def test_few_steps_and_weights_that_know_faces_are_not_judged(tmp_path, step, init, judged):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    records = ({"kind": "train", "step": at, "loss": 9.0} for at in (1, step))
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    config = TrainConfig(data="faces", output=run.path, init=init)
    told = closing_words(config, Progress(step))
    assert ("the loss did not fall" in told) is judged


@pytest.mark.usefixtures("fake_backend")
def test_a_run_that_learns_says_nothing_of_it(make, capsys):
    train(make(), console=Console(stderr=True, width=500))
    assert "did not fall" not in capsys.readouterr().err
