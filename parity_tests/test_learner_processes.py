"""Training in several processes is training in one, and each goes on from the other's state."""

from functools import cache
from pathlib import Path
from typing import Any

import learning
import numpy as np
import pytest
from comparison import assert_same_arrays, state_of
from frameworks import Framework
from processes import run_all

from marginface.runs.checkpoints import latest_checkpoint, open_checkpoint
from marginface.training.processes.groups import ALONE
from marginface.training.saving import save_checkpoint

# The bias before a BatchNorm has gradient 0, which rounds to anything tiny.
RTOL, NOISE = 1e-9, 1e-12
NEW = Path("nothing to go on from")


def run(framework: str, case: str, count: int, checkpoint: Path, folder: Path) -> list[Any]:
    """Return losses and state of each process after STEPS more steps; they leave a checkpoint."""
    run_all([learning.__file__, framework, case, checkpoint, folder], count)
    found = []
    for rank in range(count):
        arrays = dict(np.load(f"{folder}.{rank}.npz"))
        found.append((arrays.pop("losses"), arrays))
    return found


@cache
def alone(framework: str, case: str) -> tuple[Any, Any]:
    """Return losses and state of one process, at half of its steps and at the end."""
    losses, learner = learning.learn(framework, case, None, 0, None)
    half = losses, state_of(learner)
    return half, go_on(framework, case, half[1])


def go_on(framework: str, case: str, state: Any) -> Any:
    losses, learner = learning.learn(framework, case, state, learning.STEPS, None)
    return losses, state_of(learner)


def assert_same_run(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found[0], expected[0], rtol=RTOL)
    assert_same_arrays(found[1], expected[1], rtol=RTOL * 10, atol=NOISE)


@pytest.mark.parametrize(
    ("case", "count"),
    [
        pytest.param("all", 2, marks=pytest.mark.slow),
        ("a sample of small", 2),
        pytest.param("sampled", 2, marks=pytest.mark.slow),
        pytest.param("sampled", 3, marks=pytest.mark.slow),
        pytest.param("adamw", 2, marks=pytest.mark.slow),
        pytest.param("adamw sampled", 2, marks=pytest.mark.slow),
        pytest.param("rows of classes", 2, marks=pytest.mark.slow),
        pytest.param("noise", 3, marks=pytest.mark.slow),
        pytest.param("parts", 2, marks=pytest.mark.slow),
        pytest.param("micro-batches", 2, marks=pytest.mark.slow),
        pytest.param("micro-batches", 3, marks=pytest.mark.slow),
        pytest.param("head alone", 2, marks=pytest.mark.slow),
    ],
)
def test_so_many_processes_are_one(
    framework: Framework, case: str, count: int, tmp_path: Path
) -> None:
    half, whole = alone(framework.name, case)
    found = run(framework.name, case, count, NEW, tmp_path / "out")
    for each in found:
        assert_same_run(each, half)
    with pytest.raises(AssertionError):
        assert_same_run(found[0], whole)
    # What several left, each its own rows of it, one goes on with.
    path = latest_checkpoint(tmp_path / "out")
    assert path is not None
    assert len(list(path.glob(f"head-*-of-{count}.safetensors"))) == count
    state = open_checkpoint(path).state
    assert_same_arrays({k: np.asarray(v) for k, v in state.items()}, found[0][1], rtol=0)
    assert_same_run(go_on(framework.name, case, state), whole)


def test_several_go_on_where_one_stopped(torch: Framework, tmp_path: Path) -> None:
    case = "a sample of small"
    (_, half), whole = alone(torch.name, case)
    learner, _ = learning.alone(torch.name, case)
    learner.load_arrays(half)
    path = save_checkpoint(ALONE, learner, tmp_path, learning.STEPS, {}, shared=True, keep=1)
    for each in run(torch.name, case, 2, path, tmp_path / "out"):
        assert_same_run(each, whole)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["torch to tf", "tf to torch"])
def test_more_go_on_in_the_other_framework(
    torch: Framework, tf: Framework, order: str, tmp_path: Path
) -> None:
    giver, taker = (torch, tf) if order == "torch to tf" else (tf, torch)
    _, whole = alone(giver.name, "sampled")
    run(giver.name, "sampled", 2, NEW, tmp_path / "first")
    path = latest_checkpoint(tmp_path / "first")
    assert path is not None
    for each in run(taker.name, "sampled", 3, path, tmp_path / "second"):
        np.testing.assert_allclose(each[0], whole[0], rtol=1e-7)
