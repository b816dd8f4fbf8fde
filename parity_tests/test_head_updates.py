"""When a head that steps its own weights does so, and when it refuses."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays
from frameworks import Framework
from row_steps import start_state
from test_head_sampling import BATCH, CLASSES, RATE, SIZE, make

from marginface import MarginfaceError

RATES = (RATE, 0.0, RATE / 2)  # of the steps one after the other
MODES = ("graph", "compiled", "forward alone", "nested", "any batch")


def inputs() -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(BATCH, SIZE)), rng.integers(0, CLASSES, BATCH)


def way_back(framework: Framework, head: Any, calls: int) -> Callable[[], None]:
    """Call a head so often, and return the way back from the sum of its losses."""
    x, labels = inputs()
    if framework.name == "torch":
        given = framework.torch.tensor(x, requires_grad=True)
        total = sum(head(given, framework.torch.tensor(labels)) for _ in range(calls))
        return lambda: total.backward(retain_graph=True)
    source = framework.tf.Variable(x)
    with framework.tf.GradientTape(persistent=True) as tape:
        embeddings = framework.tf.convert_to_tensor(source)
        total = sum(head(embeddings, labels) for _ in range(calls))
    return lambda: tape.gradient(total, source)


def test_of_two_calls_only_one_goes_back(framework: Framework) -> None:
    """The second would meet weights that its forward pass has not seen."""
    head = make(framework, "arcface", block=2)
    head.rate = RATE
    back = way_back(framework, head, 2)
    with pytest.raises(MarginfaceError, match="call it once, and go back once, for each step"):
        back()


@pytest.mark.parametrize("name", ["arcface", "adaptiveface", "uss"])
def test_one_call_goes_back_once(framework: Framework, name: str) -> None:
    """The second time moves nothing, what is stepped apart least of all."""
    head = make(framework, name)
    head.rate = RATE
    framework.carry(head, start_state(head.loss, CLASSES, SIZE))
    back = way_back(framework, head, 1)
    back()
    parameters = [each for each in (head.weight, head.bias) if each is not None]
    before = [framework.array(each).copy() for each in parameters]
    with pytest.raises(MarginfaceError, match="go back once"):
        back()
    for each, value in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(framework.array(each), value)


def stepped(code: Any, head: Any, mode: str, rates: Any) -> dict[str, Any]:
    """Return weights, momentum, bias and gradients after steps at these rates, in a graph."""
    x, labels = (code.constant(value) for value in inputs())

    def gradient(call: Any, x: Any, labels: Any) -> Any:
        with code.GradientTape() as tape:
            tape.watch(x)
            value = call(x, labels)
        return tape.gradient(value, x)

    call: Any = head
    if mode in ("forward alone", "nested"):
        call = code.function(lambda x, labels: head(x, labels))
    step: Any = lambda x, labels: gradient(call, x, labels)  # noqa: E731 - or a graph of it
    if mode == "any batch":
        kinds = code.TensorSpec([None, SIZE], x.dtype), code.TensorSpec([None], labels.dtype)
        step = code.function(step, input_signature=kinds)
    elif mode not in ("eager", "forward alone"):
        step = code.function(step, jit_compile=mode == "compiled")
    found = []
    for rate in rates:
        head.rate = rate
        found.append(step(x, labels).numpy())
    return head.arrays() | {"gradients": np.array(found)}


@cache
def eager_steps(
    framework: type[Framework], loss: str, block: int | None
) -> tuple[Any, dict[str, Any]]:
    """Return a head's first weights, and what eager steps make of them."""
    tf = framework()
    head = make(tf, loss, block=block)
    return head.weight.numpy(), stepped(tf.tf, head, "eager", RATES)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("loss", "block"), [("arcface", None), ("arcface", 4), ("sphereface2", 4), ("softmax", 4)]
)
def test_a_tf_graph_steps_as_eager_code_does(
    tf: Framework, mode: str, loss: str, block: int | None
) -> None:
    """Each time it runs, at the rate of that time, wherever the tape is."""
    start, wanted = eager_steps(type(tf), loss, block)
    assert not np.array_equal(wanted["gradients"][0], wanted["gradients"][2])
    head = make(tf, loss, block=block)
    head.weight.assign(start)
    assert_same_arrays(stepped(tf.tf, head, mode, RATES), wanted, RTOL["float64"])


def test_a_tf_graph_goes_back_once(tf: Framework) -> None:
    head, (x, labels) = make(tf, "arcface", block=2), inputs()
    head.rate = RATE
    given = tf.tf.Variable(x)

    @tf.tf.function
    def twice() -> Any:
        with tf.tf.GradientTape() as tape:
            embeddings = tf.tf.convert_to_tensor(given)
            value = head(embeddings, labels) + head(embeddings, labels)
        return tape.gradient(value, given)

    with pytest.raises(tf.tf.errors.InvalidArgumentError, match="go back once"):
        twice()


def test_a_rate_is_no_weight(tf: Framework) -> None:
    import keras

    head = make(tf, "arcface")
    names = [variable.name for variable in head.variables]
    for rate in (0.25, np.float32(0.25), keras.Variable(0.25), keras.optimizers.SGD(0.25)):
        head.rate = getattr(rate, "learning_rate", rate)
        assert float(head.rate) == 0.25
        assert [variable.name for variable in head.variables] == names
    assert head.from_config(head.get_config()).rate is None


def test_evaluation_steps_nothing(framework: Framework) -> None:
    """Though somebody asks for a gradient of the embeddings, and nobody set a rate."""
    head, (x, labels) = make(framework, "softmax", block=4), inputs()
    before = {name: value.copy() for name, value in head.arrays().items()}
    if framework.name == "torch":
        given = framework.torch.tensor(x, requires_grad=True)
        head.eval()(given, framework.torch.tensor(labels)).backward()
        found = framework.array(given.grad)
    else:
        code, given = framework.tf, framework.tf.Variable(x)
        with code.GradientTape() as tape:
            value = head(code.convert_to_tensor(given), labels, training=False)
        found = tape.gradient(value, given).numpy()
    wanted = head.loss.evaluate(x, before["weight"], labels, bias=before["bias"])
    np.testing.assert_allclose(found, wanted.gradients["embeddings"], rtol=RTOL["float64"])
    assert_same_arrays(head.arrays(), before, 0)


def test_nothing_is_loaded_unless_all_fits(framework: Framework) -> None:
    head = make(framework, "softmax")
    before = {name: value.copy() for name, value in head.arrays().items()}
    lacking = {k: v + 1 for k, v in before.items() if k != "momentum.bias"}
    with pytest.raises(MarginfaceError, match=r"momentum\.bias has shape \[9\], got nothing"):
        head.load_arrays(lacking)
    assert_same_arrays(head.arrays(), before, 0)


def test_in_a_graph_of_tf_a_label_out_of_range_moves_nothing(tf: Framework) -> None:
    code, head = tf.tf, make(tf, "arcface", block=2)
    head.rate = RATE
    x, labels = inputs()

    @code.function
    def step(labels: Any) -> Any:
        with code.GradientTape() as tape:
            given = code.constant(x)
            tape.watch(given)
            loss = head(given, labels)
        return tape.gradient(loss, given)

    before = head.weight.numpy().copy()
    with pytest.raises(code.errors.InvalidArgumentError, match="a label is out of range for"):
        step(code.constant(np.where(np.arange(BATCH) == 2, CLASSES, labels)))
    np.testing.assert_array_equal(head.weight.numpy(), before)
    step(code.constant(labels))
    assert np.abs(head.weight.numpy() - before).max() > 0
