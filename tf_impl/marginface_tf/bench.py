"""One step of a head, to be timed: forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from marginface.losses import MarginLoss
from marginface_tf.devices import on_device
from marginface_tf.heads.head import MarginHead
from marginface_tf.processes import set_threads

RATE = 0.1  # of a head that takes its update inside


def loss_step(
    loss: MarginLoss,
    embeddings: NDArray[Any],
    labels: NDArray[Any],
    num_classes: int,
    draw: Mapping[str, NDArray[Any]],
    *,
    threads: int | None = None,
    device: str = "auto",
    **options: Any,
) -> Callable[[], float]:
    """Return a function that computes the loss and the gradients of embeddings and weights.

    Args:
        loss: of the head.
        embeddings: [batch, embedding_size].
        labels: [batch].
        num_classes: of the head.
        draw: its randomness, in every call.
        threads: CPU threads; None for the framework's choice.
        device: what computes.
        options: of the head.
    """
    set_threads(threads)
    with on_device(device):
        x, y = tf.constant(embeddings), tf.constant(labels)
        draws = {name: tf.constant(value) for name, value in draw.items()}
        head = MarginHead(loss, x.shape[1], num_classes, **options)
    if head.update is not None:
        head.rate = RATE

    @tf.function
    def run() -> tuple[Tensor, list[Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = head(x, y, draws, training=True)
        return value, tape.gradient(value, [x, *(v.value for v in head.trainable_variables)])

    def step() -> float:
        with on_device(device):
            return float(run()[0])

    return step
