"""What agreement means. Each of these has a mutant, in the tests, that makes it fail."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from marginface.losses import Evaluation

RTOL = {"float64": 1e-9, "float32": 1e-5}


def state_of(learner: Any) -> dict[str, Any]:
    """Copy all that a learner goes on from, of all processes, which call it together."""
    return {name: array.copy() for name, array in learner.arrays()}


def assert_same_arrays(
    actual: Mapping[str, Any], expected: Mapping[str, Any], rtol: float, atol: float = 0.0
) -> None:
    """Same names and shapes; no value further off than `atol` + `rtol` of its array's largest."""
    assert sorted(actual) == sorted(expected)
    for name, wanted in expected.items():
        assert np.shape(actual[name]) == np.shape(wanted), name
        largest = float(np.abs(wanted).max(initial=0))
        allowed = atol + rtol * largest
        np.testing.assert_allclose(actual[name], wanted, rtol=0, atol=allowed, err_msg=name)


def assert_same_evaluation(actual: Evaluation, expected: Evaluation, rtol: float) -> None:
    """Same loss, gradients (those of `actual`) and next state."""
    np.testing.assert_allclose(actual.loss, expected.loss, rtol=rtol, atol=rtol)
    assert {"embeddings", "weight"} <= set(actual.gradients)
    wanted = {name: expected.gradients[name] for name in actual.gradients}
    assert_same_arrays(actual.gradients, wanted, rtol)
    assert_same_arrays(actual.state, expected.state, rtol)


def assert_same_embeddings(actual: Any, expected: Any, atol: float) -> None:
    """Rows brought to length 1 differ by at most `atol`, and are no constant."""
    assert actual.shape == expected.shape
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (actual, expected)]
    assert np.abs(units[1] - units[1][:1]).max() > 100 * atol, "every image has one embedding"
    np.testing.assert_allclose(units[0], units[1], rtol=0, atol=atol)


def assert_same_losses(actual: Sequence[float], expected: Sequence[float], rtol: float) -> None:
    """Two training runs: the same loss at every step, and one that moves."""
    assert len(actual) == len(expected) > 0
    assert max(expected) > 1.001 * min(expected), "the run learned nothing"
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=0)


def assert_same_onnx(actual: onnx.ModelProto, expected: onnx.ModelProto) -> None:
    """The same bytes but for the metadata."""
    stripped = []
    for model in (actual, expected):
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        del copy.metadata_props[:]
        stripped.append(copy.SerializeToString(deterministic=True))
    assert stripped[0] == stripped[1]


def assert_same_signature(actual: Callable[..., Any], expected: Callable[..., Any]) -> None:
    """Same parameters: names, order, kinds, defaults."""
    signatures = [
        [(p.name, p.kind, p.default) for p in inspect.signature(each).parameters.values()]
        for each in (actual, expected)
    ]
    assert signatures[0] == signatures[1]
