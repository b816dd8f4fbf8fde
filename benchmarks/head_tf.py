"""Heads in TensorFlow: ours, and those that people write."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf
from head_rivals import RATES, SIZE, THREADS, Found, Rival, Step, step_of

from marginface import losses
from marginface.benchmarking.losses import inputs
from marginface.heads import WEIGHT_STD
from marginface.optimizers import AdamW
from marginface_tf import MarginHead

tf.config.threading.set_intra_op_parallelism_threads(THREADS)  # before anything runs
SCALE, MARGIN = 64.0, 0.5
ARCFACE = losses.get("arcface", scale=SCALE, margin=MARGIN, past_pi="none")


def build(name: str, batch: int, classes: int, dtype: str, weight: Any, block: int | None) -> Rival:
    embeddings, numbers = inputs(batch, classes)
    x, y = tf.constant(embeddings), tf.constant(numbers)
    if step := step_of(name):
        return _stepping(step, x, y, classes, dtype, block)
    if name.startswith("ours"):
        head = _head(classes, block=block)
        return _taped(lambda: head(x, y), x, head.weight.value, jit=False)
    if weight is None:
        weight = tf.Variable(_drawn((classes, SIZE)))
    return _taped(lambda: _dense(x, y, weight, classes), x, weight, jit=name == "dense jit")


def _head(classes: int, **options: Any) -> MarginHead:
    """Return a head whose weights were made without others: TensorFlow keeps what it had."""
    stepped = options.get("update") is not None
    initial = tf.zeros if stepped else _drawn
    with patch.object(keras.initializers, "RandomNormal", lambda stddev: initial):  # noqa: ARG005 - given by name
        head = MarginHead(ARCFACE, SIZE, classes, **options)
    if stepped:
        _fill(head.weight.value)
    return head


def _drawn(shape: Any, dtype: Any = "float32") -> Any:
    """Return weights of one allocation."""
    values = np.empty(shape, dtype)
    np.random.default_rng(0).standard_normal(out=values, dtype=np.float32)
    values *= WEIGHT_STD
    return tf.convert_to_tensor(values)


def _fill(weight: Any) -> None:
    """Set weights where they lie, with values that repeat: there is no memory for others."""
    part = np.random.default_rng(0).standard_normal((10_000, SIZE), dtype=np.float32)
    values = tf.cast(part * WEIGHT_STD, weight.dtype)
    for start in range(0, weight.shape[0], len(part)):
        rows = tf.range(start, min(start + len(part), weight.shape[0]))
        weight.scatter_nd_update(rows[:, None], values[: len(rows)])


def _dense(x: Any, y: Any, weight: Any, classes: int) -> Any:
    """The usual code: normalise, multiply, add the margin at the label."""
    unit, rows = tf.math.l2_normalize(x, 1), tf.math.l2_normalize(weight, 1)
    cosines = tf.clip_by_value(tf.matmul(unit, rows, transpose_b=True), -0.9999999, 0.9999999)
    own = tf.one_hot(y, classes, on_value=True, off_value=False, dtype=tf.bool)
    logits = SCALE * tf.where(own, tf.cos(tf.acos(cosines) + MARGIN), cosines)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))


def _taped(loss: Any, x: Any, weight: Any, *, jit: bool) -> Rival:
    @tf.function(jit_compile=jit)
    def run() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss()
        return value, *tape.gradient(value, [x, weight])

    def evaluate(rows: np.ndarray) -> Found:
        value, d_x, d_weight = run()
        return float(value), d_x.numpy(), tf.gather(d_weight, rows).numpy()

    return Rival(lambda: float(run()[0]), evaluate, weight)


def _stepping(given: Step, x: Any, y: Any, classes: int, dtype: str, block: int | None) -> Rival:
    """Return a whole step, update and all."""
    spec, rate = given.optimizer, RATES[given.optimizer.name]
    update = spec if given.inside else None
    head = _head(classes, dtype=dtype, update=update, sample_rate=given.share, block=block)
    rng, labels = np.random.default_rng(0), y.numpy()
    optimizer = None
    if given.inside:
        head.rate = tf.Variable(rate)
    else:
        optimizer = (
            keras.optimizers.AdamW(rate, weight_decay=spec.weight_decay)
            if isinstance(spec, AdamW)
            else keras.optimizers.SGD(rate, momentum=0.9, weight_decay=5e-4)
        )
        optimizer.build([head.weight])

    @tf.function
    def run(draw: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = head(x, y, draw)
        wanted = [x, *(v.value for v in head.trainable_variables)]
        _, *gradients = tape.gradient(value, wanted)
        if optimizer is not None:
            optimizer.apply_gradients(zip(gradients, [head.weight], strict=True))
        return value

    return Rival(lambda: float(run(head.draw(rng, labels))), None, head.weight)
