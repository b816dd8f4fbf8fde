"""A head that steps its own weights, and one that looks at a sample of the classes."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays
from frameworks import Framework
from hypothesis import given, settings
from hypothesis import strategies as st
from row_steps import evaluate_sample, put_back, saved_names, start_state, step_rows, zero_slots

from marginface import MarginfaceError, losses
from marginface.heads import draw_classes, draw_step
from marginface.optimizers import SGD, Optimizer

SIZE, CLASSES, BATCH, STEPS, RATE = 5, 9, 6, 3, 0.3
STEP = SGD(weight_decay=0.02, momentum=0.7, decay_norm_and_bias=False)


def make(framework: Framework, loss: Any, dtype: str = "float64", **options: Any) -> Any:
    kind = getattr(framework.torch, dtype) if framework.name == "torch" else dtype
    given = {"update": STEP, **options}
    return framework.backend.MarginHead(loss, SIZE, CLASSES, dtype=kind, **given)


def batches(
    loss: Any, rate: float = 1.0, sampling: Any = "partial_fc", number: int = STEPS
) -> list[Any]:
    """Return embeddings, labels and draw of some steps."""
    rng, found = np.random.default_rng(0), []
    for _ in range(number):
        labels = rng.integers(0, CLASSES, BATCH)
        draw = draw_step(loss, rng, labels, CLASSES, rate, sampling)
        found.append((rng.normal(size=(BATCH, SIZE)) * 5, labels, draw))
    return found


def stepped(
    framework: Framework,
    head: Any,
    w: Any,
    bias: Any,
    steps: list[Any],
    rate: float | None = RATE,
) -> Any:
    """Return weights and velocities after the steps, and the embeddings' gradients."""
    gradients = []
    head.rate = rate
    framework.carry(head, start_state(head.loss, CLASSES, SIZE))
    if framework.name == "torch":
        torch = framework.torch
        with torch.no_grad():
            head.weight.copy_(torch.tensor(w))
            if bias is not None:
                head.bias.copy_(torch.tensor(bias))
        for x, labels, draw in steps:
            given = torch.tensor(x, requires_grad=True)
            draws = {name: torch.tensor(value) for name, value in draw.items()}
            head(given, torch.tensor(labels), draws).backward()
            gradients.append(framework.array(given.grad))
            assert head.weight.grad is None
        arrays = dict(head.named_parameters()) | {
            f"momentum.{k}": v for k, v in head.momentum.named_buffers()
        }
        arrays |= saved_names(head.loss, head.carried())
        found = {name: framework.array(value.double()) for name, value in arrays.items()}
    else:
        tf = framework.tf
        head.weight.assign(w)
        if bias is not None:
            head.bias.assign(bias)
        for x, labels, draw in steps:
            given = tf.Variable(x)
            with tf.GradientTape() as tape:
                value = head(tf.convert_to_tensor(given), labels, draw)
            gradients.append(tape.gradient(value, given).numpy())
        found = {"weight": head.weight.numpy()}
        if bias is not None:
            found["bias"] = head.bias.numpy()
        found |= {f"momentum.{k}": v.numpy() for k, v in head.momentum.items()}
        found |= saved_names(head.loss, {k: v.numpy() for k, v in head.carried().items()})
    return found, gradients


def reference(
    loss: Any, w: Any, bias: Any, steps: list[Any], spec: Any = STEP, **options: Any
) -> Any:
    """Do the same with the spec's gradients and the reference's optimizer, on sampled rows only."""
    arrays = {"weight": w.copy()} | ({} if bias is None else {"bias": bias.copy()})
    names = list(arrays)
    arrays |= zero_slots(spec, arrays)
    state, gradients = start_state(loss, CLASSES, SIZE), []
    for x, labels, draw in steps:
        put_back(loss, arrays)
        classes = draw.get("classes", np.arange(CLASSES))
        centers = np.arange(loss.num_centers)
        rows = {"weight": (classes[:, None] * loss.num_centers + centers).ravel()}
        rows["bias"] = classes if bias is not None and len(bias) > 1 else slice(None)
        own = {name: value for name, value in draw.items() if name in loss.draws}
        found = evaluate_sample(
            loss,
            x,
            arrays["weight"][rows["weight"]],
            np.searchsorted(classes, labels),
            classes,
            bias=None if bias is None else arrays["bias"][rows["bias"]],
            state=state,
            draw=own,
            **options,
        )
        state = found.state
        gradients.append(found.gradients["embeddings"])
        for name in names:
            step_rows(spec, arrays, name, rows[name], found.gradients[name], RATE)
        put_back(loss, arrays)
    return arrays | saved_names(loss, state), gradients


def start(loss: Any) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    w, bias = rng.normal(size=(CLASSES * loss.num_centers, SIZE)), loss.initial_bias(CLASSES)
    return w, None if bias is None else bias + rng.normal(size=bias.shape)


def check(framework: Framework, name: str, rate: float, block: int | None) -> None:
    loss = losses.get(name)
    w, bias = start(loss)
    steps = batches(loss, rate)
    found = stepped(framework, make(framework, loss, sample_rate=rate, block=block), w, bias, steps)
    wanted = reference(loss, w, bias, steps)
    assert_same_arrays(found[0], wanted[0], RTOL["float64"])
    for got, right in zip(found[1], wanted[1], strict=True):
        assert_same_arrays({"x": got}, {"x": right}, RTOL["float64"])


@pytest.mark.parametrize("name", losses.names())
def test_steps_as_the_optimizer_does(framework: Framework, name: str) -> None:
    check(framework, name, 1.0, 4)


@pytest.mark.parametrize("name", losses.names())
def test_a_sample_is_a_head_of_its_classes_alone(framework: Framework, name: str) -> None:
    check(framework, name, 0.8, None)


@pytest.mark.parametrize("name", ["arcface", "subcenter_arcface", "sphereface2", "softmax"])
def test_samples_in_blocks(framework: Framework, name: str) -> None:
    check(framework, name, 0.7, 3)


def test_what_is_not_sampled_stays(framework: Framework) -> None:
    loss = losses.get("arcface")
    w, _ = start(loss)
    steps = batches(loss, 0.5)[:1]
    found, _ = stepped(framework, make(framework, loss, sample_rate=0.5), w, None, steps)
    away = np.setdiff1d(np.arange(CLASSES), steps[0][2]["classes"])
    assert len(away) > 0
    assert np.array_equal(found["weight"][away], w[away])
    assert not found["momentum.weight"][away].any()
    moved = steps[0][2]["classes"]
    assert (found["weight"][moved] != w[moved]).any(axis=1).all()


def corrected(framework: Framework, name: str) -> tuple[Any, Any, Any, Any]:
    """Return a head that weighs its sample, its weights and bias, and one batch."""
    loss = losses.get(name)
    w, bias = start(loss)
    (batch, *_) = batches(loss, 0.7, "corrected")
    assert batch[2]["log_weights"].max() > 0
    head = make(framework, loss, sample_rate=0.7, sampling="corrected", block=3)
    arrays = {"weight": w * np.linspace(1, 3, len(w))[:, None]}  # what is not a cosine would show
    if bias is not None:
        arrays["bias"] = bias
    head.load_arrays(arrays | {f"momentum.{k}": np.zeros_like(v) for k, v in arrays.items()})
    return head, w, bias, batch


@pytest.mark.parametrize("name", ["cosface", "uniface"])
def test_correction_weighs_the_others(framework: Framework, name: str) -> None:
    """Each sampled class counts as often as it stands for others: the sum written out."""
    head, w, bias, (x, labels, draw) = corrected(framework, name)
    loss = head.loss
    found = framework.call(head, x, labels, draw)
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, w)]
    cosines = units[0] @ units[1].T
    each = []
    for i, y in enumerate(labels):
        others = [j for j in range(len(draw["classes"])) if draw["classes"][j] != y]
        times = np.exp(draw["log_weights"][others])
        c = loss.scale * cosines[i, draw["classes"][others]]
        target = loss.scale * (cosines[i, y] - loss.margin)
        if bias is None:
            each.append(np.log(np.exp(target) + (times * np.exp(c)).sum()) - target)
        else:
            target, c = target + bias[0], c + bias[0]
            each.append(np.log1p(np.exp(-target)) + (times * np.log1p(np.exp(c))).sum())
    assert found == pytest.approx(np.mean(each), rel=RTOL["float64"])


@pytest.mark.parametrize("name", ["cosface", "uniface"])
def test_corrected_gradients_are_those_of_the_value(framework: Framework, name: str) -> None:
    head, w, bias, batch = corrected(framework, name)
    x, labels, draw = batch
    _, (found,) = stepped(framework, head, w, bias, [batch], rate=0.0)
    step = 1e-6
    for i, k in ((0, 0), (2, 4), (5, 1)):
        off = np.zeros_like(x)
        off[i, k] = step
        above, below = (framework.call(head, x + by, labels, draw) for by in (off, -off))
        assert found[i, k] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    "loss",
    [
        *map(losses.get, ("cosface", "softmax", "uniface", "sface", "npcface", "adacos")),
        losses.get("adacos", scale_from="last_step"),
    ],
    ids=str,
)
def test_a_class_that_stands_for_k_is_there_k_times(framework: Framework, loss: Any) -> None:
    """Weights of whole numbers: the spec has such a class so often. Value, gradient and state."""
    rng = np.random.default_rng(3)
    w, bias = start(loss)
    classes, times = np.array([0, 2, 3, 5, 6, 8]), np.array([1, 2, 1, 3, 2, 1])
    x, labels = rng.normal(size=(BATCH, SIZE)) * 5, np.array([0, 3, 3, 0, 8, 8])
    draw = {"classes": classes, "log_weights": np.log(times)}
    head = make(framework, loss, sample_rate=0.7, sampling="corrected", block=4)
    _, (gradient,) = stepped(framework, head, w, bias, [(x, labels, draw)], rate=0.0)
    state = {k: v for k, v in head.arrays().items() if k.startswith("state.")}
    value = framework.call(head, x, labels, draw)
    rows = np.repeat(classes, times)
    if bias is not None and len(bias) > 1:
        bias = bias[rows]
    before = loss.initial_state(CLASSES)
    given = x, w[rows], np.searchsorted(rows, labels)
    wanted = loss.evaluate(*given, bias=bias, state=before)
    assert_same_arrays({"x": gradient}, {"x": wanted.gradients["embeddings"]}, RTOL["float64"])
    assert_same_arrays(state, {f"state.{k}": v for k, v in wanted.state.items()}, RTOL["float64"])
    again = loss.evaluate(*given, bias=bias, state=wanted.state)  # the state has moved
    assert value == pytest.approx(again.loss, rel=RTOL["float64"])


@given(
    classes=st.integers(1, 30),
    labels=st.lists(st.integers(0, 29), min_size=1, max_size=8),
    rate=st.floats(0.01, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_drawn_classes(classes: int, labels: list[int], rate: float, seed: int) -> None:
    y = np.array(labels) % classes
    draw = draw_classes(np.random.default_rng(seed), y, classes, rate, "corrected")
    found = draw["classes"]
    assert np.array_equal(found, np.unique(found))
    assert found.min() >= 0
    assert found.max() < classes
    assert set(y) <= set(found)
    assert len(found) == max(len(set(y)), int(rate * classes))
    own = np.isin(found, y)
    assert not draw["log_weights"][own].any()
    stands_for = np.exp(draw["log_weights"][~own]).sum()
    if not own.all():  # the others stand for all that are no label's
        assert stands_for == pytest.approx(classes - len(set(y)))


def test_every_set_of_others_is_as_likely() -> None:
    rng, counts = np.random.default_rng(0), dict.fromkeys(combinations([0, 1, 3, 4], 2), 0)
    for _ in range(6000):
        found = draw_classes(rng, np.array([2, 2]), 5, 0.6)["classes"]
        counts[tuple(int(c) for c in found if c != 2)] += 1
    assert np.abs(np.array(list(counts.values())) - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sample_rate": 0.0}, r"sample_rate must be in \(0, 1\], got 0.0"),
        ({"sample_rate": 1.5}, r"sample_rate must be in \(0, 1\], got 1.5"),
        ({"sample_rate": float("nan")}, r"sample_rate must be in \(0, 1\], got nan"),
        ({"sample_rate": True, "update": None}, r"sample_rate must be in \(0, 1\], got True"),
        ({"sample_rate": "a"}, r"sample_rate must be in \(0, 1\], got 'a'"),
        ({"sample_rate": 0.5, "update": None}, r"needs update=SGD\(...\) or AdamW\(...\)"),
        ({"sampling": "all"}, "sampling must be one of .'partial_fc', 'corrected'., got 'all'"),
        (
            {"update": 0.1},
            r"be marginface.SGD\(...\) or AdamW\(...\), whose rate is head.rate, got float",
        ),
        ({"update": Optimizer()}, "got marginface.optimizers.Optimizer"),  # a framework's, so
        ({"accumulation": 2}, "accumulation must be 1, got 2"),
    ],
)
def test_bad_options(framework: Framework, options: Any, said: str) -> None:
    with pytest.raises(MarginfaceError, match=said):
        framework.backend.MarginHead("arcface", SIZE, CLASSES, **{"update": STEP, **options})


def test_small_steps_are_not_lost_in_bfloat16(framework: Framework) -> None:
    """Between two bfloat16 numbers each is drawn as often as it is near."""
    stochastic_round = framework.module("heads.rounding").stochastic_round

    def narrowed(values: Any) -> Any:
        if framework.name == "tf":
            return stochastic_round(framework.tf.constant(values), framework.tf.bfloat16).numpy()
        torch = framework.torch
        return framework.array(stochastic_round(torch.tensor(values), torch.bfloat16))

    framework.seed(0)
    near = np.full(100_000, 1 + 2.0**-10, np.float32)  # an eighth of the way from 1 to the next
    for sign in (1, -1):
        found = narrowed(sign * near).astype(np.float32)
        assert set(found) == {sign * 1.0, sign * (1 + 2.0**-7)}
        assert np.mean(found != sign) == pytest.approx(1 / 8, abs=5 * (7 / 64 / 100_000) ** 0.5)
    exact = np.array([1.0, -2.5, 0.0], np.float32)
    assert (narrowed(exact).astype(np.float32) == exact).all()


def test_bfloat16_weights_are_stepped(framework: Framework) -> None:
    """They move as wide ones do, but for what the type cannot hold."""
    loss = losses.get("arcface", scale=8)
    w = np.round(start(loss)[0] * 64) / 64  # bfloat16 has these
    steps = [(x.astype(np.float32), y, draw) for x, y, draw in batches(loss, 0.8)]
    found = {}
    for dtype in ("bfloat16", "float32"):
        framework.seed(0)
        head = make(framework, loss, dtype, sample_rate=0.8)
        arrays, gradients = stepped(framework, head, w, None, steps)
        assert dtype in str(head.weight.dtype)
        assert gradients[0].dtype == np.float32
        found[dtype] = arrays["weight"].astype(np.float64)
    assert np.abs(found["float32"] - w).max() > 0.1
    error = np.abs(found["bfloat16"] - found["float32"]).max()
    assert 0 < error < 3 * 2**-7 * np.abs(w).max()  # three roundings


def test_bad_draws(framework: Framework) -> None:
    head = make(framework, "arcface", sample_rate=0.5)
    x, labels = np.ones((2, SIZE)), np.array([1, 8])
    with pytest.raises(MarginfaceError, match=r"sample_rate 0.5 got no classes in draw; pass"):
        framework.call(head, x, labels)
    other = draw_classes(np.random.default_rng(0), np.array([0]), CLASSES, 0.2)
    with pytest.raises(MarginfaceError, match="lacks the class of a label"):
        framework.call(head, x, labels, other)
    with pytest.raises(MarginfaceError, match=r"sample_rate 1\.0 got classes, log_weights in draw"):
        framework.call(make(framework, "arcface"), x, labels, other)


def test_in_a_graph_a_class_that_lacks_is_nan(tf: Framework) -> None:
    """No error can be raised there, but no finite loss may come of it either."""
    head = make(tf, "cosface", sample_rate=0.5)
    head.rate = 0.1
    code = tf.tf
    x, labels = np.ones((2, SIZE)), np.array([1, 8])
    good, bad = (
        draw_classes(np.random.default_rng(0), np.array(own), CLASSES, 0.5)
        for own in ([1, 8], [0, 2])
    )
    assert not {1, 8} <= set(bad["classes"])
    graph = code.function(lambda draw: head(x, labels, draw, training=True))
    values = [float(graph({k: code.constant(v) for k, v in draw.items()})) for draw in (good, bad)]
    assert np.isfinite(values[0])
    assert np.isnan(values[1])


def test_a_rate_is_needed(framework: Framework) -> None:
    loss = losses.get("arcface")
    head = make(framework, loss)
    w, steps = start(loss)[0], batches(loss)[:1]
    stepped(framework, head, w, None, steps)
    with pytest.raises(MarginfaceError, match=r"set head\.rate first"):
        stepped(framework, head, w, None, steps, rate=None)
