"""One step of a head, to be timed: forward and backward on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from marginface.losses import MarginLoss
from marginface_tf.heads.head import MarginHead


def loss_step(
    loss: MarginLoss,
    embeddings: NDArray[Any],
    labels: NDArray[Any],
    num_classes: int,
    draw: Mapping[str, NDArray[Any]],
) -> Callable[[], float]:
    """Return a function that computes the loss and the gradients of embeddings and weights."""
    x, y = tf.constant(embeddings), tf.constant(labels)
    draws = {name: tf.constant(value) for name, value in draw.items()}
    head = MarginHead(loss, x.shape[1], num_classes)

    @tf.function
    def run() -> tuple[Tensor, list[Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = head(x, y, draws, training=True)
        return value, tape.gradient(value, [x, *(v.value for v in head.trainable_variables)])

    def step() -> float:
        return float(run()[0])

    return step
