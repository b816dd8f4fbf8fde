"""Training in several processes is training in one, and each goes on from the other's state."""

from functools import cache
from pathlib import Path
from typing import Any

import learning
import numpy as np
import pytest
from comparison import assert_same_arrays
from frameworks import Framework
from processes import run_all

# The bias before a BatchNorm has gradient 0, which rounds to anything tiny.
RTOL, NOISE = 1e-9, 1e-12


def run(framework: str, case: str, count: int, state: Any, folder: Path) -> list[Any]:
    """Return losses and state of each process after STEPS more steps."""
    if state is not None:
        np.savez(folder / "state.npz", **state)
    command = [learning.__file__, framework, case, folder / "state.npz", folder / "out"]
    run_all(command, count)
    found = []
    for rank in range(count):
        arrays = dict(np.load(folder / f"out.{rank}.npz"))
        found.append((arrays.pop("losses"), arrays))
    return found


@cache
def alone(framework: str, case: str) -> tuple[Any, Any]:
    """Return losses and state of one process that takes twice the steps, at half and at the end."""
    half = learning.learn(framework, case, None, 0, None)
    return half, learning.learn(framework, case, half[1], learning.STEPS, None)


def assert_same_run(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found[0], expected[0], rtol=RTOL)
    assert_same_arrays(found[1], expected[1], rtol=RTOL * 10, atol=NOISE)


@pytest.mark.parametrize(
    ("case", "count"),
    [
        pytest.param("all", 2, marks=pytest.mark.slow),
        ("sampled", 2),
        pytest.param("sampled", 3, marks=pytest.mark.slow),
        pytest.param("adamw", 2, marks=pytest.mark.slow),
        pytest.param("dropout", 3, marks=pytest.mark.slow),
    ],
)
def test_so_many_processes_are_one(
    framework: Framework, case: str, count: int, tmp_path: Path
) -> None:
    half, whole = alone(framework.name, case)
    found = run(framework.name, case, count, None, tmp_path)
    for each in found:
        assert_same_run(each, half)
    with pytest.raises(AssertionError):
        assert_same_run(found[0], whole)
    # What several left, one goes on with.
    assert_same_run(learning.learn(framework.name, case, found[-1][1], learning.STEPS, None), whole)


def test_several_go_on_where_one_stopped(torch: Framework, tmp_path: Path) -> None:
    half, whole = alone(torch.name, "sampled")
    for each in run(torch.name, "sampled", 2, half[1], tmp_path):
        assert_same_run(each, whole)


@pytest.mark.slow
def test_several_go_on_in_the_other_framework(
    torch: Framework, tf: Framework, tmp_path: Path
) -> None:
    half, whole = alone(torch.name, "sampled")
    for each in run(tf.name, "sampled", 2, half[1], tmp_path):
        np.testing.assert_allclose(each[0], whole[0], rtol=1e-7)
