"""Backbone and head as ordinary Keras layers: fitted, saved, cloned, named, in mixed precision."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frameworks import Framework
from layer_cases import ROWS

from marginface import losses

IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, 3, 32, 32)).astype(np.float32)
LABELS = np.array([0, 2, 1, 4])


def parts(
    tf: Framework, dropout: float = 0.25, network: str = ROWS, **options: Any
) -> tuple[Any, Any]:
    backbone = tf.backend.create_backbone(
        network, 16, input_size=(32, 32), dropout=dropout, seed=0, **options
    )
    loss = losses.get("arcface", scale=np.float32(8), past_pi="clip")
    return backbone, tf.backend.MarginHead(loss, 16, 5, name="margin", **options)


def functional(backbone: Any, head: Any) -> Any:
    import keras

    pixels, labels = keras.Input((3, 32, 32)), keras.Input((), dtype="int32")
    return keras.Model([pixels, labels], head(backbone(pixels), labels))


def test_fit(tf: Framework) -> None:
    import keras

    backbone, head = parts(tf)
    model = functional(backbone, head)
    model.compile(keras.optimizers.SGD(1e-3), loss=lambda _, value: value)
    assert not model.jit_compile  # XLA is slower here, and Keras would take it by itself
    before = backbone.arrays["bn1.running_mean"].numpy()
    found = model.fit([IMAGES, LABELS], np.zeros(4), epochs=3, verbose=0).history["loss"]
    assert found[2] < found[0]
    assert np.abs(backbone.arrays["bn1.running_mean"].numpy() - before).max() > 0


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_saved_and_loaded(tf: Framework, dtype: str, tmp_path: Path) -> None:
    import keras

    backbone, head = parts(tf, dtype=dtype)
    model = functional(backbone, head)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    found = loaded.get_layer(ROWS), loaded.get_layer("margin")
    assert float(loaded([IMAGES, LABELS])) == float(model([IMAGES, LABELS]))
    np.testing.assert_array_equal(found[0](IMAGES), backbone(IMAGES))
    assert float(found[1](backbone(IMAGES), LABELS)) == float(head(backbone(IMAGES), LABELS))
    assert found[1].loss == head.loss
    for layer, original in zip(found, (backbone, head), strict=True):
        assert layer.get_config() == original.get_config()


def test_backbone_saved_alone(tf: Framework, tmp_path: Path) -> None:
    import keras

    backbone, _ = parts(tf)
    backbone.save(tmp_path / "backbone.keras")
    loaded = keras.models.load_model(tmp_path / "backbone.keras")
    np.testing.assert_array_equal(loaded(IMAGES), backbone(IMAGES))
    assert loaded.graph == backbone.graph


@pytest.mark.parametrize(
    ("network", "reloaded"),
    [(ROWS, False), (ROWS, True), pytest.param("mobilefacenet", True, marks=pytest.mark.slow)],
    ids=["built", "reloaded", "mobilefacenet"],
)
def test_exported_as_saved_model(
    tf: Framework, network: str, reloaded: bool, tmp_path: Path
) -> None:
    import keras

    backbone, _ = parts(tf, network=network)
    if reloaded:
        backbone.save(tmp_path / "backbone.keras")
        backbone = keras.models.load_model(tmp_path / "backbone.keras")
    expected = backbone(IMAGES)
    backbone.export(tmp_path / "saved", verbose=False)
    loaded = tf.tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.serve(IMAGES), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", ["new", "reloaded", "weights loaded", "compiled"])
def test_exported_before_the_first_call(tf: Framework, how: str, tmp_path: Path) -> None:
    import keras

    backbone, _ = parts(tf)
    if how == "reloaded":
        backbone.save(tmp_path / "backbone.keras")
        backbone = keras.models.load_model(tmp_path / "backbone.keras")
    elif how == "weights loaded":
        tf.backend.save_weights(parts(tf)[0], tmp_path / "weights.safetensors")
        tf.backend.load_weights(backbone, tmp_path / "weights.safetensors")
    elif how == "compiled":
        backbone.compile("sgd", "mse")
    backbone.export(tmp_path / "saved", verbose=False)
    loaded = tf.tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.serve(IMAGES), backbone(IMAGES), rtol=0, atol=1e-5)


def test_cloned_with_new_weights(tf: Framework) -> None:
    import keras

    backbone, head = parts(tf)
    for original, twin in (
        (backbone, keras.models.clone_model(backbone)),
        (head, type(head).from_config(head.get_config())),
    ):
        assert twin.get_config() == original.get_config()
        assert [v.shape for v in twin.variables] == [v.shape for v in original.variables]
        assert np.abs(twin.variables[0].numpy() - original.variables[0].numpy()).min() > 0
    assert np.abs(keras.models.clone_model(backbone)(IMAGES)).max() > 0


def test_keras_own_keywords(tf: Framework) -> None:
    assert parts(tf)[1].name == "margin"
    frozen = tf.backend.MarginHead("softmax", 16, 5, trainable=False)
    assert not frozen.trainable_variables
    with pytest.raises(ValueError, match="nmae"):
        tf.backend.MarginHead("softmax", 16, 5, nmae="margin")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(tf: Framework, policy: str) -> None:
    import keras

    backbone, head = parts(tf, dropout=0.0)
    expected = float(head(backbone(IMAGES, training=True), LABELS))
    keras.config.set_dtype_policy(policy)
    try:
        mixed, other = parts(tf, dropout=0.0)
    finally:
        keras.config.set_dtype_policy("float32")
    other.weight.assign(head.weight)
    with tf.tf.GradientTape() as tape:
        embeddings = mixed(IMAGES, training=True)
        loss = other(embeddings, LABELS)
    gradients = tape.gradient(loss, [v.value for v in mixed.trainable_variables])
    assert embeddings.dtype.name == policy.removeprefix("mixed_")
    assert loss.dtype.name == other.weight.dtype == "float32"
    assert all(np.isfinite(gradient.numpy()).all() for gradient in gradients)
    assert float(loss) == pytest.approx(expected, rel=0.05)
