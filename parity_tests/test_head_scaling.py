"""A head that steps itself by the gradient of a scaled loss: told by how much, or refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays
from frameworks import DEVICE, Framework
from row_steps import saved_names, start_state, zero_slots
from test_head_sampling import BATCH, CLASSES, RATE, SIZE, batches, make, reference, start

from marginface import MarginfaceError, losses
from marginface.heads import MAX_UPSTREAM

GRAPHS = ("graph", "forward alone", "nested", "any batch")
SAID = r"multiplied by more than 100, as gradient scalers do; set head\.loss_scale to the factor"


def back(
    framework: Framework,
    head: Any,
    batch: Any,
    factor: Any,
    *,
    before: Callable[[], None] = lambda: None,
) -> Any:
    """Go back once from a head's loss times a factor; return the embeddings' gradient."""
    x, labels, draw = batch
    if framework.name == "torch":
        torch = framework.torch
        draws = {name: torch.tensor(value) for name, value in draw.items()}
        given = torch.tensor(x, requires_grad=True)
        loss = head(given, torch.tensor(labels), draws) * factor
        before()
        loss.backward()
        return framework.array(given.grad)
    tf = framework.tf
    given = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = head(tf.convert_to_tensor(given), labels, draw) * factor
    before()
    return tape.gradient(loss, given).numpy()


def made(framework: Framework, name: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return a head at the start, and its arrays."""
    head = make(framework, name, **options)
    w, bias = start(head.loss)
    arrays = {"weight": w} | ({} if bias is None else {"bias": bias})
    state = saved_names(head.loss, start_state(head.loss, CLASSES, SIZE))
    arrays |= zero_slots(head.update, arrays)
    head.load_arrays(arrays | state)
    head.rate = RATE
    return head, arrays


def stepped(head: Any) -> dict[str, Any]:
    return {name: np.array(value) for name, value in head.arrays().items()}


@pytest.mark.parametrize("name", losses.names())
def test_it_steps_by_the_loss_itself(framework: Framework, name: str) -> None:
    """The embeddings' gradient stays scaled, as whoever scales expects."""
    head, arrays = made(framework, name, sample_rate=0.8)
    steps, scales = batches(head.loss, 0.8), (65536.0, 1000.0, 0.25)
    wanted, gradients = reference(head.loss, arrays["weight"], arrays.get("bias"), steps)
    for batch, scale, gradient in zip(steps, scales, gradients, strict=True):
        head.loss_scale = scale
        found = back(framework, head, batch, scale)
        assert_same_arrays({"x": found}, {"x": scale * gradient}, RTOL["float64"])
    assert_same_arrays(stepped(head), wanted, RTOL["float64"])


@pytest.mark.parametrize("factor", [128.0, 2.0**15, -(2.0**16), float("inf")])
def test_a_scaled_loss_is_refused_by_name(framework: Framework, factor: float) -> None:
    """From the smallest usual scale on; nothing moves, and what the message says works."""
    head, arrays = made(framework, "softmax", block=4)
    batch, *_ = batches(head.loss)
    with pytest.raises(MarginfaceError, match=rf"{SAID}.*got {factor:g} with loss_scale None"):
        back(framework, head, batch, factor)
    assert_same_arrays(stepped(head), arrays, 0)
    if np.isfinite(factor):
        head.loss_scale = abs(factor)
        back(framework, head, batch, abs(factor))
        wanted, _ = reference(head.loss, arrays["weight"], arrays["bias"], [batch])
        assert_same_arrays(stepped(head), wanted, RTOL["float64"])


def test_another_scale_than_that_told_is_refused(framework: Framework) -> None:
    head, arrays = made(framework, "arcface")
    head.loss_scale = 512
    with pytest.raises(MarginfaceError, match=rf"{SAID}.*got 65536 with loss_scale 512"):
        back(framework, head, batches(head.loss)[0], 65536.0)
    assert_same_arrays(stepped(head), arrays, 0)


@pytest.mark.parametrize("factor", [MAX_UPSTREAM, 10.0, 1 / 64, 0.0, -0.5])
def test_a_weight_of_a_loss_is_none(framework: Framework, factor: float) -> None:
    """It counts in the step as it does for an optimizer."""
    head, arrays = made(framework, "arcface")
    batch, *_ = batches(head.loss)
    back(framework, head, batch, factor)
    w = arrays["weight"]
    gradient = head.loss.evaluate(batch[0], w, batch[1]).gradients["weight"]
    velocity = factor * gradient + 0.02 * w
    wanted = {"weight": w - RATE * velocity, "momentum.weight": velocity}
    assert_same_arrays(stepped(head), wanted, RTOL["float64"])


@pytest.mark.parametrize("name", ["arcface", "softmax", "sphereface2"])
@pytest.mark.parametrize("factor", [float("inf"), float("nan")])
def test_what_is_no_number_moves_nothing(framework: Framework, name: str, factor: float) -> None:
    """An overflow, which the scaler answers by leaving out its own step; the next one counts."""
    head, arrays = made(framework, name, block=4)
    steps = batches(head.loss)[:2]
    head.loss_scale = 65536.0
    back(framework, head, steps[0], factor)
    bad = np.where(np.arange(BATCH)[:, None] == 1, factor, steps[0][0]), *steps[0][1:]
    back(framework, head, bad, 65536.0)
    assert_same_arrays(stepped(head), arrays, 0)
    head.loss_scale = None
    back(framework, head, bad, 1.0)
    assert_same_arrays(stepped(head), arrays, 0)
    head.loss_scale = 32768
    back(framework, head, steps[1], 32768.0)
    wanted, _ = reference(head.loss, arrays["weight"], arrays.get("bias"), steps[1:])
    assert_same_arrays(stepped(head), wanted, RTOL["float64"])


def test_an_infinite_embedding_with_a_finite_slope_moves_nothing(framework: Framework) -> None:
    """Its own logit is infinite and others' are minus that: its loss and its slopes are 0."""
    head, arrays = made(framework, "softmax", block=4)
    x, labels, draw = batches(head.loss)[0]
    first = arrays["weight"][:, 0]
    first[:] = np.where(np.arange(len(first)) == labels[1], 1, -np.abs(first))
    head.load_arrays(arrays)
    x = x.copy()
    x[1, 0] = np.inf
    back(framework, head, (x, labels, draw), 1.0)
    assert_same_arrays(stepped(head), arrays, 0)


def test_rate_and_scale_count_as_they_are_when_it_goes_back(framework: Framework) -> None:
    head, arrays = made(framework, "arcface")
    head.rate = None
    batch, *_ = batches(head.loss)

    def late() -> None:
        head.rate, head.loss_scale = RATE, 1024

    if framework.name == "tf":
        head.rate = 99.0  # a graph must know that there is one
    back(framework, head, batch, 1024.0, before=late)
    wanted, _ = reference(head.loss, arrays["weight"], None, [batch])
    assert_same_arrays(stepped(head), wanted, RTOL["float64"])


@pytest.mark.parametrize("value", [0, -2.0, float("inf"), float("nan"), "a", [1, 2]])
def test_bad_scales(torch: Framework, tf: Framework, value: Any) -> None:
    messages = []
    for framework in (torch, tf):
        head, _ = made(framework, "arcface")
        head.loss_scale = 8
        with pytest.raises(MarginfaceError, match="loss_scale must be a finite number") as caught:
            head.loss_scale = value
        assert float(head.loss_scale) == 8
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_scale_is_no_state(framework: Framework) -> None:
    head, _ = made(framework, "arcface")
    names = sorted(head.arrays())
    assert head.loss_scale is None
    head.loss_scale = 1024
    assert float(head.loss_scale) == 1024
    assert sorted(head.arrays()) == names
    head.loss_scale = None
    assert head.loss_scale is None


def test_the_scaler_of_torch(torch: Framework) -> None:
    """As its manual has it, over an overflow: the same weights as without it."""
    code = torch.torch
    scaler = code.amp.GradScaler(DEVICE, init_scale=2.0**40, growth_interval=2)
    head, arrays = made(torch, "arcface", dtype="float32")
    table = code.nn.Parameter(code.eye(SIZE))
    optimizer = code.optim.SGD([table], 0.0)
    steps = [(np.float32(np.float16(x)), labels, draw) for x, labels, draw in batches(head.loss)]
    scales = []
    for number, (x, labels, _) in enumerate(steps):
        half = (code.tensor(x) @ table).half() if number == 0 else code.tensor(x) @ table
        loss = head(half, code.tensor(labels))
        head.loss_scale = scaler.get_scale()
        scales.append(scaler.get_scale())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert scales[1] == scales[0] / 2  # an overflow of the half, after the head had stepped
    wanted, _ = reference(head.loss, arrays["weight"], None, steps)
    assert_same_arrays(stepped(head), wanted, RTOL["float32"])


def graph(tf: Framework, head: Any, mode: str, factor: Any) -> Any:
    """Return a graph that goes back once from the loss times a variable."""
    code = tf.tf

    def call(x: Any, y: Any) -> Any:
        return head(x, y) * factor

    called = code.function(call) if mode in ("forward alone", "nested") else call

    def step(x: Any, y: Any) -> Any:
        with code.GradientTape() as tape:
            tape.watch(x)
            loss = called(x, y)
        return tape.gradient(loss, x), loss

    if mode == "any batch":
        kinds = code.TensorSpec([None, SIZE], code.float64), code.TensorSpec([None], code.int64)
        return code.function(step, input_signature=kinds)
    return step if mode == "forward alone" else code.function(step, jit_compile=mode == "compiled")


@pytest.mark.parametrize("mode", [*GRAPHS, "compiled"])
def test_a_graph_of_tf_sees_the_scale_of_each_step(tf: Framework, mode: str) -> None:
    head, arrays = made(tf, "sphereface2", block=4)
    steps, factor = batches(head.loss), tf.tf.Variable(1.0, dtype="float64")
    step = graph(tf, head, mode, factor)
    wanted, gradients = reference(head.loss, arrays["weight"], arrays["bias"], steps)
    for (x, labels, _), scale, gradient in zip(
        steps, (1.0, 65536.0, 512.0), gradients, strict=True
    ):
        factor.assign(scale)
        head.loss_scale = None if scale == 1 else tf.tf.Variable(scale)
        found, _ = step(tf.tf.constant(x), tf.tf.constant(labels))
        assert_same_arrays({"x": found.numpy()}, {"x": scale * gradient}, RTOL["float64"])
    assert_same_arrays(stepped(head), wanted, RTOL["float64"])
    before = stepped(head)
    factor.assign(np.inf)
    step(*map(tf.tf.constant, steps[0][:2]))
    assert_same_arrays(stepped(head), before, 0)


@pytest.mark.parametrize("mode", GRAPHS)
def test_in_a_graph_of_tf_a_scaled_loss_is_an_error(tf: Framework, mode: str) -> None:
    head, arrays = made(tf, "arcface", block=4)
    batch = tuple(map(tf.tf.constant, batches(head.loss)[0][:2]))
    factor = tf.tf.Variable(128.0, dtype="float64")
    step = graph(tf, head, mode, factor)
    with pytest.raises(tf.tf.errors.InvalidArgumentError, match=SAID):
        step(*batch)
    assert_same_arrays(stepped(head), arrays, 0)
    head.loss_scale = 128
    step(*batch)
    assert np.abs(stepped(head)["weight"] - arrays["weight"]).max() > 0


def test_under_xla_a_scaled_loss_in_tf_ends_in_nan(tf: Framework) -> None:
    """It cannot raise: nothing moves from there on, and every later loss is no number."""
    head, arrays = made(tf, "arcface", block=4)
    batch = tuple(map(tf.tf.constant, batches(head.loss)[0][:2]))
    factor = tf.tf.Variable(128.0, dtype="float64")
    step = graph(tf, head, "compiled", factor)
    step(*batch)
    factor.assign(1.0)
    for _ in range(2):
        assert np.isnan(step(*batch)[1].numpy())
    assert_same_arrays(stepped(head), arrays, 0)
    assert np.isnan(float(head(*batch, training=False)))
