"""The metrics of a training batch: the oracle's, before the step, and the step is the same."""

from typing import Any

import pytest
from comparison import assert_same_arrays, state_of
from frameworks import Framework
from tiny_training import batches, fresh

from marginface import losses
from marginface.heads import HeadMetrics, measure
from marginface.losses import MarginLoss

CASES = [losses.get("arcface", scale=16), losses.get("subcenter_arcface"), losses.get("softmax")]


def of_spec(loss: MarginLoss, embeddings: Any, state: Any, labels: Any) -> HeadMetrics[float]:
    return measure(loss, embeddings, state["head.weight"], labels, state.get("head.bias"))


@pytest.mark.parametrize("loss", CASES, ids=lambda loss: loss.name)
def test_a_measured_step_is_the_same_step(framework: Framework, loss: MarginLoss) -> None:
    data, ends, steps = batches(2), [], []
    for asked in (False, True):
        learner = fresh(framework, loss)
        steps.append([learner.step(*each, 0.02, {}, measure=asked) for each in data])
        ends.append(state_of(learner))
    assert [each.metrics for each in steps[0]] == [None, None]
    assert [each[:2] for each in steps[0]] == [each[:2] for each in steps[1]]
    assert_same_arrays(ends[1], ends[0], rtol=0)
