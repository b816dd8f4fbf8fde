"""One evaluation of a loss by this framework, NumPy arrays in and out, for parity."""

from __future__ import annotations

import tensorflow as tf

from marginface.losses import Evaluation, MarginLoss
from marginface.losses.problems import Problem
from marginface_tf.devices import on_device
from marginface_tf.heads.head import MarginHead


def evaluate_loss(
    loss: MarginLoss, problem: Problem, dtype: str, *, device: str = "auto"
) -> Evaluation:
    """Return loss, gradients and next state of a MarginHead on embeddings of `dtype`."""
    with on_device(device):
        return _evaluate(loss, problem, dtype)


def _evaluate(loss: MarginLoss, problem: Problem, dtype: str) -> Evaluation:
    classes, size = len(problem.weight) // loss.num_centers, problem.weight.shape[1]
    head = MarginHead(loss, size, classes, dtype=problem.weight.dtype.name)
    head.weight.assign(problem.weight)
    embeddings = tf.cast(problem.embeddings, dtype)
    sources = {"embeddings": embeddings, "weight": head.weight.value}
    if head.bias is not None:
        head.bias.assign(problem.bias)
        sources["bias"] = head.bias.value
    carried = head.carried()
    for name, value in problem.state.items():
        carried[name].assign(value)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = head(embeddings, problem.labels, problem.draw)
    slopes = tape.gradient(value, sources)
    gradients = {name: tf.cast(each, tf.float64).numpy() for name, each in slopes.items()}
    state = {name: variable.numpy() for name, variable in head.carried().items()}
    return Evaluation(float(value), gradients, state)
