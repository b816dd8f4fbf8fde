"""The parts in a user's own loop: tf.function, torch.compile, precision, seeds."""

import inspect
from typing import Any

import numpy as np
import pytest
from frameworks import DEVICE, Framework

from marginface import MarginfaceError, losses
from marginface.heads import OPTIONS
from marginface.optimizers import SGD

LABELS = np.array([0, 2, 1, 4])


@pytest.fixture
def images() -> Any:
    return np.random.default_rng(0).uniform(-1, 1, (4, 3, 32, 32)).astype(np.float32)


def make(framework: Framework) -> tuple[Any, Any]:
    backbone = framework.backend.create_backbone("mobilefacenet", 16, input_size=(32, 32), seed=0)
    return backbone, framework.head(losses.get("arcface", scale=8), 16, 5)


def test_torch_mixed_precision(torch: Framework, images: Any) -> None:
    """Autocast halves the backbone's precision and leaves the head in float32."""
    backbone, head = make(torch)
    tensors = torch.torch.tensor(images), torch.torch.tensor(LABELS)
    with torch.torch.autocast(DEVICE, torch.torch.bfloat16):
        embeddings = backbone(tensors[0])
        loss = head(embeddings, tensors[1])
    assert embeddings.dtype is torch.torch.bfloat16
    assert loss.dtype is torch.torch.float32
    assert loss.item() == pytest.approx(head(embeddings.float(), tensors[1]).item(), rel=1e-6)
    loss.backward()
    gradients = [parameter.grad for parameter in (*backbone.parameters(), head.weight)]
    assert all(gradient.dtype is torch.torch.float32 for gradient in gradients)
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


def test_graphs_give_what_eager_gives(framework: Framework) -> None:
    """tf.function with a free batch; torch.compile, which goes around the head."""
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    _, head = make(framework)
    expected = [framework.call(head, x[:n], LABELS[:n]) for n in (4, 2)]
    if framework.name == "torch":
        tensor = framework.torch.tensor
        compiled = framework.torch.compile(head, backend="eager")
        found = [compiled(tensor(x[:n]), tensor(LABELS[:n])).item() for n in (4, 2)]
    else:
        code = framework.tf
        signature = [code.TensorSpec([None, 16]), code.TensorSpec([None], code.int64)]
        graph = code.function(lambda e, y: head(e, y), input_signature=signature)
        found = [float(graph(x[:n], LABELS[:n])) for n in (4, 2)]
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_compiled_step_measures_without_a_word(torch: Framework) -> None:
    """The compiler goes around what reads values, and warns of nothing."""
    _, head = make(torch)
    code = torch.torch
    x, labels = code.eye(4, 16), code.tensor(LABELS)

    def step(x: Any, labels: Any) -> Any:
        return head(x, labels), head.measure(x, labels), head.logits(x, labels)

    code.compiler.reset()
    counted = code._dynamo.utils.counters["graph_break"]
    counted.clear()
    loss, metrics, logits = code.compile(step, backend="eager")(x, labels)
    assert not [reason for reason in counted if "item" in reason], dict(counted)
    wanted_loss, wanted_metrics, wanted_logits = step(x, labels)
    assert loss.item() == pytest.approx(wanted_loss.item(), rel=1e-6)
    assert metrics == wanted_metrics
    code.testing.assert_close(logits, wanted_logits)


def test_a_label_out_of_range_is_never_silent(framework: Framework) -> None:
    """In graphs too; in those that XLA compiles, the loss is no number."""
    x, labels = np.ones((2, 16), np.float32), np.array([0, 7])
    _, head = make(framework)
    if framework.name == "torch":
        compiled = framework.torch.compile(head, backend="eager")
        with pytest.raises(MarginfaceError, match="label 7 is out of range for 5 classes"):
            framework.call(compiled, x, labels)
    else:
        code = framework.tf
        with pytest.raises(code.errors.InvalidArgumentError, match="out of range for 5 classes"):
            code.function(head)(x, labels)
        assert np.isnan(code.function(head, jit_compile=True)(x, labels))


def test_small_label_types(framework: Framework) -> None:
    """Their range is smaller than the batch and the classes."""
    x = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    head = framework.head("arcface", 16, 400)
    labels = np.arange(300) % 100
    expected = framework.call(head, x, labels)
    for dtype in (np.uint8, np.int8, np.int32):
        assert framework.call(head, x, labels.astype(dtype)) == expected


def test_precision_is_an_argument(framework: Framework, images: Any) -> None:
    backbone, _ = make(framework)
    expected = framework.embed(backbone, images, training=False)
    code = framework.torch if framework.name == "torch" else framework.tf
    for dtype, rtol in ((code.float64, 1e-5), (code.bfloat16, 0.1)):
        made = framework.backend.create_backbone(
            "mobilefacenet", 16, input_size=(32, 32), seed=0, dtype=dtype
        )
        kind = next(iter(made.parameters())).dtype if framework.name == "torch" else None
        assert (kind or made.arrays["conv1.conv.weight"].value.dtype) == dtype
        if framework.name == "torch":
            tensor = code.tensor(images, dtype=dtype)
            found = framework.array(made.eval()(tensor).double())
        else:
            found = np.asarray(code.cast(made(images), "float64"))
        assert np.abs(found - expected).max() < rtol * np.abs(expected).max()


def test_seeds_decide_the_start(framework: Framework) -> None:
    def first_weights(seed: int) -> Any:
        if framework.name == "torch":
            framework.torch.manual_seed(seed)
        else:
            import keras

            keras.utils.set_random_seed(seed)
        backbone = framework.backend.create_backbone("mobilefacenet", 16, input_size=(32, 32))
        head = framework.head("arcface", 16, 5)
        first = framework.backend.backbone_arrays(backbone)["conv1.conv.weight"]
        return np.concatenate([first.ravel(), framework.array(head.weight).ravel()])

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


def test_a_loss_by_name_takes_its_parameters(framework: Framework) -> None:
    make_head = framework.backend.MarginHead
    head = make_head("cosface", 4, 5, margin=0.3, scale=8)
    assert head.loss == losses.get("cosface", margin=0.3, scale=8)
    with pytest.raises(MarginfaceError, match="'marign'; did you mean 'margin'"):
        make_head("cosface", 4, 5, marign=0.3)
    with pytest.raises(MarginfaceError, match="cosface: margin must be in"):
        make_head("cosface", 4, 5, margin=-1)
    for loss in ("cosface", losses.get("cosface")):
        with pytest.raises(MarginfaceError, match="'block_size'; did you mean 'block'"):
            make_head(loss, 4, 5, block_size=0)
    message = r"margin beside the loss CosFace\(.*\), which has its parameters; give its name"
    with pytest.raises(MarginfaceError, match=message):
        make_head(losses.get("cosface"), 4, 5, margin=0.3)


def test_the_options_of_a_head_are_known_by_name(framework: Framework) -> None:
    parameters = inspect.signature(framework.backend.MarginHead).parameters.values()
    named = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    assert named == list(OPTIONS)


@pytest.mark.parametrize("dtype", ["float99", "int32", 7])
def test_a_type_that_weights_cannot_have_is_refused(framework: Framework, dtype: object) -> None:
    made = [
        lambda: framework.backend.MarginHead("arcface", 4, 5, dtype=dtype),
        lambda: framework.backend.create_backbone("mobilefacenet", dtype=dtype),
    ]
    for make_it in made:
        with pytest.raises(MarginfaceError, match=f"^dtype must be .*, got {dtype!r}$"):
            make_it()


@pytest.mark.parametrize("rate", ["a", -1, float("nan"), [1, 2]])
def test_a_rate_that_is_none_is_refused_where_it_is_set(framework: Framework, rate: object) -> None:
    head = framework.backend.MarginHead("arcface", 4, 5, update=SGD())
    with pytest.raises(MarginfaceError, match=r"^head.rate must be a finite number of at least 0"):
        head.rate = rate
    assert head.rate is None
    head.rate = np.float32(0.5)
    assert float(head.rate) == 0.5


def test_tensors_of_the_other_framework_are_not_differentiated(torch: Framework) -> None:
    tf = pytest.importorskip("marginface_tf")
    embeddings = torch.torch.ones(2, 4, requires_grad=True)
    with pytest.raises(MarginfaceError, match=r"PyTorch with a gradient.* tensor\.detach"):
        tf.MarginHead("arcface", 4, 5)(embeddings, [0, 1])
