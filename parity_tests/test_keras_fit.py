"""A head in Keras' `fit`: beside a frozen backbone, under loss scaling, called as a loss."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from blocks import ROOT, read_blocks
from frameworks import Framework

from marginface import MarginfaceError
from marginface.optimizers import SGD

INPUTS, SIZE, CLASSES = 6, 8, 5
X = np.random.default_rng(0).normal(size=(8, INPUTS)).astype(np.float32)
LABELS = np.array([0, 2, 1, 4, 4, 3, 2, 0])
PART = r"make the head a part of it: keras\.Model\(\[images, labels\], head\(backbone\(images\)"


def parts(tf: Framework, *, frozen: bool = False, **options: Any) -> tuple[Any, Any]:
    """Return a backbone and a head, always the same."""
    import keras

    keras.utils.set_random_seed(0)
    backbone = keras.Sequential([keras.Input((INPUTS,)), keras.layers.Dense(SIZE)])
    backbone.trainable = not frozen
    head = tf.backend.MarginHead("cosface", SIZE, CLASSES, **options)
    if head.update is not None:
        head.rate = 0.1
    return backbone, head


def joined(backbone: Any, head: Any, **options: Any) -> Any:
    """Return a model whose output is the head's loss."""
    import keras

    x, labels = keras.Input((INPUTS,)), keras.Input((), dtype="int32")
    model = keras.Model([x, labels], head(backbone(x), labels))
    model.compile(loss=lambda _, value: value, **options)
    return model


def fit(model: Any, *callbacks: Any) -> None:
    model.fit(
        [X, LABELS], np.zeros(8), batch_size=4, shuffle=False, verbose=0, callbacks=[*callbacks]
    )


def in_a_loop(backbone: Any, head: Any) -> Any:
    """Return the head's weights after the steps that `fit` takes of a frozen backbone."""
    import tensorflow as tf

    for part in (slice(4), slice(4, 8)):
        with tf.GradientTape() as tape:
            given = tf.convert_to_tensor(backbone(X[part]))
            tape.watch(given)
            loss = head(given, LABELS[part])
        tape.gradient(loss, given)
    return head.weight.numpy()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "clipped"])
def test_beside_a_frozen_backbone(tf: Framework, optimizer: str) -> None:
    """The optimizer has nothing to move, and moves nothing."""
    import keras

    kept = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1, global_clipnorm=1.0)
    expected = in_a_loop(*parts(tf, frozen=True, update=SGD()))
    backbone, head = parts(tf, frozen=True, update=SGD())
    before = [variable.numpy() for variable in (*backbone.variables, head.weight)]
    fit(joined(backbone, head, optimizer=kept if optimizer == "clipped" else optimizer))
    np.testing.assert_allclose(head.weight.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(head.weight.numpy() - before[-1]).max() > 0.1
    for variable, was in zip(backbone.variables, before[:-1], strict=True):
        np.testing.assert_array_equal(variable.numpy(), was)


def test_a_loop_with_the_heads_variables(tf: Framework) -> None:
    """What an optimizer is given there is something, also of a frozen backbone and a head."""
    import keras

    code = tf.tf
    expected = in_a_loop(*parts(tf, frozen=True, update=SGD()))
    backbone, head = parts(tf, frozen=True, update=SGD())
    optimizer = keras.optimizers.SGD(0.1)
    for part in (slice(4), slice(4, 8)):
        with code.GradientTape() as tape:
            loss = head(backbone(X[part]), LABELS[part])
        own = backbone.trainable_variables + head.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, own), own, strict=True))
    np.testing.assert_allclose(head.weight.numpy(), expected, rtol=1e-6)


def test_evaluation_and_prediction_step_nothing(tf: Framework) -> None:
    backbone, head = parts(tf, frozen=True, update=SGD())
    model = joined(backbone, head, optimizer="sgd")
    before = head.weight.numpy().copy()
    model.evaluate([X, LABELS], np.zeros(8), verbose=0)
    model.predict([X, LABELS], verbose=0)
    np.testing.assert_array_equal(head.weight.numpy(), before)


def test_saved_and_loaded(tf: Framework, tmp_path: Any) -> None:
    model = joined(*parts(tf, update=SGD()), optimizer="sgd")
    model.save_weights(tmp_path / "model.weights.h5")
    other = joined(*parts(tf, update=SGD()), optimizer="sgd")
    fit(other)
    other.load_weights(tmp_path / "model.weights.h5")
    assert float(other([X, LABELS])) == float(model([X, LABELS]))


def course(head: Any) -> Any:
    """Return the callback of docs/heads.md, which tells a head rate and scale."""
    [code] = [
        each.text for each in read_blocks(ROOT / "docs" / "heads.md") if "class Course" in each.text
    ]
    names = {"head": head}
    exec(code, names)
    return names["Course"]()


@pytest.mark.parametrize("frozen", [False, True])
def test_under_keras_loss_scaling(tf: Framework, frozen: bool) -> None:
    import keras

    found = {}
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        try:
            backbone, head = parts(tf, frozen=frozen, update=SGD())
            optimizer = keras.optimizers.SGD(0.1)
            if policy == "mixed_float16":
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1024.0)
                if not frozen:
                    untold = joined(backbone, head, optimizer=optimizer)
                    with pytest.raises(tf.tf.errors.InvalidArgumentError, match="as gradient scal"):
                        fit(untold)
                fit(joined(backbone, head, optimizer=optimizer), course(head))
                assert float(head.loss_scale) == 1024
            else:
                fit(joined(backbone, head, optimizer=optimizer))
            found[policy] = head.weight.numpy()
        finally:
            keras.config.set_dtype_policy("float32")
    assert head.weight.dtype == "float32"
    np.testing.assert_allclose(*found.values(), rtol=0, atol=0.01 * np.abs(found["float32"]).max())


def as_loss(head: Any) -> Callable[[Any, Any], Any]:
    """Return a loss that casts labels, as users write it whose head refused floating-point ones."""
    import keras

    return lambda labels, embeddings: head(embeddings, keras.ops.cast(labels, "int32"))


@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize("cast", [False, True])
def test_a_loss_that_would_never_learn_is_refused(tf: Framework, cast: bool, eagerly: bool) -> None:
    backbone, head = parts(tf)
    loss = as_loss(head) if cast else lambda labels, embeddings: head(embeddings, labels)
    backbone.compile("sgd", loss=loss, run_eagerly=eagerly)
    with pytest.raises(MarginfaceError, match=rf"never move its weights; {PART}.*or give the head"):
        backbone.fit(X, LABELS, verbose=0)
    if cast:
        assert np.isfinite(backbone.evaluate(X, LABELS, verbose=0))


def test_nor_would_one_that_steps_itself_beside_a_frozen_backbone(tf: Framework) -> None:
    backbone, head = parts(tf, frozen=True, update=SGD())
    backbone.compile("sgd", loss=as_loss(head))
    with pytest.raises(MarginfaceError, match=f"has no backward pass: the head would .*; {PART}"):
        backbone.fit(X, LABELS, verbose=0)


def own_train_step(backbone: Any, head: Any) -> Any:
    """Return a model that takes the head's gradients itself, which none of its layers is."""
    import keras
    import tensorflow as tf

    class Mine(keras.Model):
        def train_step(self, data: Any) -> Any:
            x, labels = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, labels, self(x, training=True), training=True)
            weight = head.weight
            self.optimizer.apply_gradients([(tape.gradient(loss, weight.value), weight)])
            return {"loss": loss}

    return Mine(backbone.inputs, backbone.outputs)


def attribute(backbone: Any, head: Any) -> Any:
    """Return a model that has the head among its layers."""
    import keras

    model = keras.Model(backbone.inputs, backbone.outputs)
    model.head = head
    return model


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ({"update": SGD()}, lambda backbone, _: backbone),
        ({}, attribute),
        ({}, own_train_step),
    ],
)
def test_a_loss_that_learns_is_left_alone(tf: Framework, options: Any, model: Any) -> None:
    backbone, head = parts(tf, **options)
    before = head.weight.numpy().copy()
    whole = model(backbone, head)
    whole.compile("sgd", loss=as_loss(head))
    whole.fit(X, LABELS, verbose=0)
    assert np.abs(head.weight.numpy() - before).max() > 1e-3
