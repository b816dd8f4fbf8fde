"""The parts in a user's own loop: tf.function, torch.compile, Keras models, mixed precision."""

from typing import Any

import numpy as np
import pytest
from frameworks import Framework

from marginface import losses

LABELS = np.array([0, 2, 1, 4])


@pytest.fixture
def images() -> Any:
    return np.random.default_rng(0).uniform(-1, 1, (4, 3, 32, 32)).astype(np.float32)


def make(framework: Framework) -> tuple[Any, Any]:
    backbone = framework.backend.create_backbone("mobilefacenet", 16, input_size=(32, 32), seed=0)
    return backbone, framework.head(losses.get("arcface", scale=8), 16, 5)


def test_keras_model_fits(tf: Framework, images: Any) -> None:
    """Backbone and head as layers of a functional model, trained by Keras itself."""
    import keras

    backbone, head = make(tf)
    pixels, labels = keras.Input((3, 32, 32)), keras.Input((), dtype="int32")
    model = keras.Model([pixels, labels], head(backbone(pixels), labels))
    model.compile(keras.optimizers.SGD(1e-3), loss=lambda _, value: value)
    before = backbone.arrays["conv1.bn.running_mean"].numpy()
    found = model.fit([images, LABELS], np.zeros(4), epochs=3, verbose=0).history["loss"]
    assert found[2] < found[0]
    assert np.abs(backbone.arrays["conv1.bn.running_mean"].numpy() - before).max() > 0


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_keras_mixed_precision(tf: Framework, images: Any, policy: str) -> None:
    import keras

    backbone, head = make(tf)
    expected = float(head(backbone(images, training=True), LABELS))
    keras.config.set_dtype_policy(policy)
    try:
        mixed = tf.backend.create_backbone("mobilefacenet", 16, input_size=(32, 32), seed=0)
        other = tf.backend.MarginHead(losses.get("arcface", scale=8), 16, 5)
    finally:
        keras.config.set_dtype_policy("float32")
    other.weight.assign(head.weight)
    with tf.tf.GradientTape() as tape:
        embeddings = mixed(images, training=True)
        loss = other(embeddings, LABELS)
    gradients = tape.gradient(loss, [v.value for v in mixed.trainable_variables])
    assert embeddings.dtype.name == policy.removeprefix("mixed_")
    assert loss.dtype.name == other.weight.dtype == "float32"
    assert all(np.isfinite(gradient.numpy()).all() for gradient in gradients)
    assert float(loss) == pytest.approx(expected, rel=0.05)


def test_torch_mixed_precision(torch: Framework, images: Any) -> None:
    backbone, head = make(torch)
    tensors = torch.torch.tensor(images), torch.torch.tensor(LABELS)
    expected = head(backbone(tensors[0]), tensors[1]).item()
    with torch.torch.autocast("cpu", torch.torch.bfloat16):
        loss = head(backbone(tensors[0]), tensors[1])
    loss.backward()
    assert loss.dtype is torch.torch.float32
    assert loss.item() == pytest.approx(expected, rel=0.05)


def test_graphs_give_what_eager_gives(framework: Framework) -> None:
    """tf.function with a free batch; torch.compile by a back end that needs no C++ compiler."""
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    _, head = make(framework)
    expected = [framework.call(head, x[:n], LABELS[:n]) for n in (4, 2)]
    if framework.name == "torch":
        tensor = framework.torch.tensor
        compiled = framework.torch.compile(head, backend="eager", fullgraph=True)
        found = [compiled(tensor(x[:n]), tensor(LABELS[:n])).item() for n in (4, 2)]
    else:
        code = framework.tf
        signature = [code.TensorSpec([None, 16]), code.TensorSpec([None], code.int64)]
        graph = code.function(lambda e, y: head(e, y), input_signature=signature)
        found = [float(graph(x[:n], LABELS[:n])) for n in (4, 2)]
    assert found == pytest.approx(expected, rel=1e-6)


def test_seeds_decide_the_start(framework: Framework) -> None:
    def first_weights(seed: int) -> Any:
        if framework.name == "torch":
            framework.torch.manual_seed(seed)
        else:
            import keras

            keras.utils.set_random_seed(seed)
        backbone = framework.backend.create_backbone("mobilefacenet", 16, input_size=(32, 32))
        head = framework.head("arcface", 16, 5)
        weight = head.weight.detach() if framework.name == "torch" else head.weight
        first = framework.backend.backbone_arrays(backbone)["conv1.conv.weight"]
        return np.concatenate([first.ravel(), np.asarray(weight).ravel()])

    np.testing.assert_array_equal(first_weights(1), first_weights(1))
    assert np.abs(first_weights(1) - first_weights(2)).min() > 0


def test_dropout_is_for_training(framework: Framework, images: Any) -> None:
    made = framework.backend.create_backbone(
        "mobilefacenet", 16, input_size=(32, 32), dropout=0.5, seed=0
    )
    quiet = [framework.embed(made, images, training=False) for _ in range(2)]
    np.testing.assert_array_equal(*quiet)
    noisy = [framework.embed(made, images, training=True) for _ in range(2)]
    assert np.abs(noisy[0] - noisy[1]).max() > 0.1
