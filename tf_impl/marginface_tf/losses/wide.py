"""What every class takes part in, each with a backward pass that holds as little as it can.

TensorFlow's own would keep normalised class weights and several [batch, classes] arrays.
"""

from collections.abc import Callable

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses import MIN_NORM


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1 and their former norms; a zero row stays zero, with zero gradient."""
    squares = tf.reduce_sum(vectors * vectors, 1)
    short = tf.sqrt(squares) <= MIN_NORM
    # The root's slope at 0 is infinite, and times 0 it is no number: short rows never reach it.
    norms = tf.sqrt(tf.where(short, tf.ones_like(squares), squares))
    inverse = tf.where(short, tf.zeros_like(norms), 1 / norms)
    return vectors * inverse[:, None], tf.where(short, tf.zeros_like(norms), norms)


def class_cosines(units: Tensor, weight: Tensor) -> Tensor:
    """Return the cosines [batch, classes] of unit rows with class weights of any length."""

    @tf.custom_gradient
    def product(units: Tensor, weight: Tensor) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
        norms = tf.norm(weight, axis=1)
        inverse = tf.where(norms <= MIN_NORM, tf.zeros_like(norms), 1 / norms)
        cosines = tf.matmul(units, weight, transpose_b=True) * inverse

        def backward(gradient: Tensor) -> list[Tensor]:
            scaled = gradient * inverse
            # What would only change a weight's length.
            along = tf.reduce_sum(scaled * cosines, 0) * inverse
            d_weight = tf.matmul(scaled, units, transpose_a=True) - weight * along[:, None]
            return [tf.matmul(scaled, weight), d_weight]

        return cosines, backward

    return product(units, weight)


def logsumexp_of_others(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ln of the sum of e^logit over all classes but each sample's own, [batch]."""

    @tf.custom_gradient
    def reduced(logits: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        others = tf.where(_own_class(logits, labels), logits.dtype.min, logits)
        top = tf.reduce_max(others, 1, keepdims=True)
        parts = tf.exp(others - top)
        total = tf.reduce_sum(parts, 1, keepdims=True)
        result = tf.squeeze(top + tf.math.log(total), 1)
        return result, lambda gradient: parts * (gradient[:, None] / total)

    return reduced(logits)


def softplus_sum(
    target: Tensor, logits: Tensor, labels: Tensor, positive: float, negative: float
) -> Tensor:
    """Return positive * softplus(-t) + negative * sum_j softplus(n_j) of each sample."""
    terms = tf.nn.softplus(logits)
    others = tf.where(_own_class(logits, labels), tf.zeros_like(terms), terms)
    return positive * tf.nn.softplus(-target) + negative * tf.reduce_sum(others, 1)


def _own_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Return where in `logits` [batch, classes] a sample's own class stands."""
    return tf.one_hot(labels, tf.shape(logits)[1], True, False, dtype=tf.bool)
