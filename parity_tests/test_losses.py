"""Spec, PyTorch and TensorFlow: the same values, gradients and states of every loss."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from frameworks import Framework
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from marginface import MarginfaceError, losses
from marginface.losses import Evaluation, MarginLoss
from marginface.losses.hyperparameters import Parameter, declared
from marginface.losses.problems import label
from marginface.losses.reference import fix
from marginface.parity import DTYPES, Problem, broken, compare, errors, problem, tolerance, variants
from marginface.parity.measure import LAST_PLACE, evaluate_spec

EXAMPLES = [10, pytest.param(60, marks=pytest.mark.slow)]
ALL = [variant for name in losses.names() for variant in variants(name)]


def seeded(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def check(framework: Framework, loss: MarginLoss, case: Problem, dtype: str, rtol: float) -> None:
    compare_with_spec(framework.backend.evaluate_loss(loss, case, dtype), loss, case, dtype, rtol)


def compare_with_spec(
    found: Evaluation, loss: MarginLoss, case: Problem, dtype: str, rtol: float
) -> None:
    """Compare with the spec; half precision gradients may be off by a last place.

    A gradient along the embedding itself cancels, as at a cosine of 1; it is measured against what
    it is made of, the target logit's gradient.
    """
    least = logit_gradient(loss, case)
    for quantity, error in errors(found, evaluate_spec(loss, case), least=least).items():
        half = quantity == "d embeddings" and dtype in LAST_PLACE
        assert error <= (LAST_PLACE[dtype] if half else rtol), (quantity, error)


# Half precision is float32 behind a cast, which no problem after the first tries anew.
SEEDS = [
    *((dtype, 1 if dtype in LAST_PLACE else 2) for dtype in DTYPES),
    *(pytest.param(dtype, 2, marks=pytest.mark.slow) for dtype in LAST_PLACE),
]


@pytest.mark.parametrize(("dtype", "seeds"), SEEDS)
@pytest.mark.parametrize("name", losses.names())
def test_every_choice(framework: Framework, name: str, dtype: str, seeds: int) -> None:
    rows = compare(name, dtype, {framework.name: framework.backend}, seeds=seeds)
    wanted = {"loss", "d embeddings", "d weight"}
    wanted |= {"d bias"} if losses.get(name).initial_bias(3) is not None else set()
    wanted |= {"state"} if losses.get(name).initial_state(3) else set()
    assert {row.quantity for row in rows} == wanted
    assert broken(rows) == []


def logit_gradient(loss: MarginLoss, case: Problem) -> float:
    """Return the largest gradient that a target logit has by itself, as the mean divides it."""
    x, w = (a.astype(np.float64) for a in (case.embeddings, case.weight))
    norms, lengths = (np.linalg.norm(a, axis=1) for a in (x, w))
    cosines = (x @ w.T / np.maximum(norms, 1e-3)[:, None] / np.maximum(lengths, 1e-3)).clip(-1, 1)
    cosines = cosines.reshape(len(x), -1, loss.num_centers).max(2)
    no_bias = np.zeros(cosines.shape[1])
    fixed = fix(loss, cosines, case.labels, norms, no_bias, case.state, case.draw)
    return (
        fixed.radius
        * max(
            max(
                abs(
                    loss.target(
                        c[y], n, {"margin": 0.0, **{k: v[i] for k, v in fixed.prepared.items()}}
                    ).slope
                ),
                1,
            )
            for i, (c, y, n) in enumerate(zip(cosines, case.labels, norms, strict=True))
        )
        / max(norms.max(), 1e-3)
        / len(norms)
    )


def at_angles(
    loss: MarginLoss, angles: list[float], dtype: str = "float64", *, length: float = 12.0
) -> Problem:
    """Return embeddings at these angles to class 0, exact at 0 and pi, in every class's plane."""
    cosines = [math.cos(a) if 0 < a < math.pi else round(math.cos(a)) for a in angles]
    sines = [math.sqrt(1 - c * c) for c in cosines]
    x = length * np.array([[c, s, 0] for c, s in zip(cosines, sines, strict=True)])
    axes = np.array([[0.5, 0, 0], [0, 4.0, 0], [0, 0, 1.0], [-2.0, 0, 0]])
    drawn = problem(loss, np.random.default_rng(0), batch=len(x), classes=4, size=3, dtype=dtype)
    # Other centres of a class point the other way, so that the first one counts or ties.
    weight = np.repeat(axes, loss.num_centers, 0).reshape(4, loss.num_centers, 3)
    weight[:, 1:] *= np.array([1.0, 1.0, -1.0])
    return replace(
        drawn,
        embeddings=x.astype(drawn.embeddings.dtype),
        weight=weight.reshape(-1, 3).astype(drawn.weight.dtype),
        labels=np.zeros(len(x), int),
        # As after long training, so that AdaFace's margins differ from 0.
        state=drawn.state | ({"std": np.array(10.0)} if "std" in drawn.state else {}),
    )


def bends(loss: MarginLoss, length: float) -> list[float]:
    """Return the target angles at which a loss's formula changes."""
    margin = getattr(loss, "margin", 0.5)
    multiplies = "margin" in (own := declared(type(loss))) and own["margin"].limits.low == 1
    multiplied = getattr(loss, "m1", margin if multiplies else 1.0)
    added = getattr(loss, "m2", 0.0 if multiplies else margin)
    found = [(k * math.pi - added) / multiplied for k in range(1, 5)] + [math.pi / 2]
    if isinstance(loss, losses.AdaFace):  # the angle less what the norm makes of it
        case = at_angles(loss, [1.0] * 6, length=length)  # 4 ends and a bend from both sides
        prepared, _ = loss.prepare(np.zeros(6), np.full(6, length), case.state, {})
        shift = margin * float(prepared["quality"][0])
        found = [end + shift for end in (loss.eps, math.pi - loss.eps)]
    return found


def reads_norms(loss: MarginLoss) -> bool:
    """Whether longer embeddings at the same angles have another loss."""
    cases = (at_angles(loss, [1.0, 2.0], length=length) for length in (12.0, 60.0))
    first, second = (evaluate_spec(loss, case).loss for case in cases)
    return not math.isclose(first, second, rel_tol=1e-9)


# A gradient is shorter for longer embeddings; `test_degenerate_input` has long ones of every loss.
LENGTHS = [
    pytest.param(
        loss,
        length,
        id=f"{label(loss)}-{length:g}",
        marks=[pytest.mark.slow] * (length == 60 and not reads_norms(loss)),
    )
    for loss in ALL
    for length in (12.0, 60.0)
]


@pytest.mark.parametrize(("loss", "length"), LENGTHS)
def test_extreme_angles(framework: Framework, loss: MarginLoss, length: float) -> None:
    """Cosines of +-1 to the target and to others, and both sides of each bend of the target."""
    sides = [b + side for b in bends(loss, length) for side in (-1e-4, 1e-4)]
    angles = [0.0, math.pi, 1e-4, math.pi - 1e-4, *(a for a in sides if 0 < a < math.pi)]
    case = at_angles(loss, angles, length=length)
    check(framework, loss, case, "float64", 1e-9)


# Choices do not meet the cast of half precision; `test_every_choice` has each in each type.
FEW_DIGITS = [
    pytest.param(
        loss,
        dtype,
        id=f"{label(loss)}-{dtype}",
        marks=[pytest.mark.slow] * (dtype in LAST_PLACE and loss != losses.get(loss.name)),
    )
    for loss in ALL
    for dtype in ("float32", *LAST_PLACE)
]


@pytest.mark.parametrize(("loss", "dtype"), FEW_DIGITS)
def test_extreme_angles_in_few_digits(framework: Framework, loss: MarginLoss, dtype: str) -> None:
    """Exactly representable cosines of +-1: nothing to lose, so everything must be right."""
    check(framework, loss, at_angles(loss, [0.0, math.pi], dtype), dtype, 1e-5)


@pytest.mark.parametrize("name", ["arcface", "li_arcface", "x2_softmax"])
def test_slopes_at_the_ends(framework: Framework, name: str) -> None:
    """What a target's slope is there; the gradient of an embedding carries another sin(theta)."""
    loss, cosines = losses.get(name), [1.0, math.cos(1e-4), -1.0]
    ops = framework.module("losses").loss_ops(loss)
    if framework.name == "torch":
        at = framework.torch.tensor(cosines, dtype=framework.torch.float64, requires_grad=True)
        (found,) = framework.torch.autograd.grad(ops.target(at, at, {}).sum(), at)
    else:
        at = framework.tf.constant(cosines, framework.tf.float64)
        with framework.tf.GradientTape() as tape:
            tape.watch(at)
            value = ops.target(at, at, {})
        found = tape.gradient(value, at)
    expected = [loss.target(cosine, 1.0, {}).slope for cosine in cosines]
    assert found.numpy() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["curricularface", "mv_am", "mv_arc"])
def test_a_tie_with_the_threshold_is_not_hard(framework: Framework, name: str) -> None:
    loss, cosines = losses.get(name), [0.25, 0.5, 0.75]
    own = {"threshold": 0.5, "t": 0.25}
    ops = framework.module("losses").loss_ops(loss)
    kind = framework.torch.tensor if framework.name == "torch" else framework.tf.constant
    prepared = {key: kind([value]) for key, value in own.items()}
    found = ops.negatives(kind([cosines]), prepared).numpy()[0].tolist()
    assert found == pytest.approx([loss.negative(cosine, own).value for cosine in cosines])
    assert found[1] == 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_angles_to_all_classes(tf: Framework, dtype: str) -> None:
    """As near as TensorFlow's own arccosine; past +-1 by rounding, too."""
    cosines = np.append(np.linspace(-1, 1, 100_001), [-1 - 1e-7, 1 + 1e-7]).astype(dtype)
    found = tf.module("losses.base").angles_to_all(tf.tf.constant(cosines)).numpy()
    inside = cosines.clip(-1, 1)
    wanted, own = np.arccos(inside.astype(np.float64)), tf.tf.acos(tf.tf.constant(inside)).numpy()
    assert np.abs(found - wanted).max() <= np.abs(own - wanted).max()


DEGENERATE = {
    "zero embedding": lambda p: replace(p, embeddings=p.embeddings * [[0], *[[1]] * 5]),
    "shorter than the limit": lambda p: replace(p, embeddings=p.embeddings * 1e-16),
    "short embeddings": lambda p: replace(p, embeddings=p.embeddings * 1e-8),
    "long embeddings": lambda p: replace(p, embeddings=p.embeddings * 1e4),
    "zero class weights": lambda p: replace(
        p, weight=p.weight * [[0], *[[1]] * (len(p.weight) - 1)]
    ),
    "one sample": lambda p: replace(
        p,
        embeddings=p.embeddings[:1],
        labels=p.labels[:1],
        draw={name: values[:1] for name, values in p.draw.items()},
    ),
    "one label": lambda p: replace(p, labels=p.labels * 0 + 1),
    "int32 labels": lambda p: replace(p, labels=p.labels.astype(np.int32)),
}


# What is odd about labels, or the size of a batch, is so in every type.
CHANGES = [
    pytest.param(change, dtype, marks=[pytest.mark.slow] * (dtype == "float32" and not_of_numbers))
    for change in DEGENERATE
    for dtype in ("float64", "float32")
    for not_of_numbers in (change in ("one sample", "one label", "int32 labels"),)
]


@pytest.mark.parametrize(("change", "dtype"), CHANGES)
@pytest.mark.parametrize("name", losses.names())
def test_degenerate_input(framework: Framework, name: str, change: str, dtype: str) -> None:
    loss = losses.get(name)
    drawn = problem(loss, np.random.default_rng(1), dtype=dtype)
    changed = DEGENERATE[change](drawn)
    case = replace(
        changed,
        embeddings=changed.embeddings.astype(dtype),
        weight=changed.weight.astype(dtype),
    )
    check(framework, loss, case, dtype, {"float64": 1e-9, "float32": 1e-5}[dtype])


@pytest.mark.parametrize("name", losses.names())
def test_one_class(framework: Framework, name: str) -> None:
    loss = losses.get(name)
    case = problem(loss, np.random.default_rng(2), classes=1)
    check(framework, loss, case, "float64", 1e-9)


@st.composite
def hyperparameters(draw: st.DrawFn, name: str) -> MarginLoss:
    """Draw a loss with parameters from all over their ranges, and any of its choices."""
    values = {key: draw(values_of(each)) for key, each in declared(type(losses.get(name))).items()}
    try:
        return losses.get(name, **values)
    except MarginfaceError:  # where one must be larger than another
        reject()


def values_of(parameter: Parameter) -> st.SearchStrategy[Any]:
    """Return values from a parameter's whole range, to a hundredth of the default from open ends.

    Where there is no end, it is three times as far as the default. Scales stay moderate: beyond, a
    float64 says nothing of a difference of logits.
    """
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    limits, default = parameter.limits, parameter.default
    if parameter.name == "scale":
        return st.floats(0.5, 256)
    low = limits.low if limits.above is None else limits.above
    high = limits.high if limits.below is None else limits.below
    low = low if low is not None else default - 3 * max(abs(default), 1)
    high = high if high is not None else low + 3 * max(default - low, 1)
    if isinstance(default, int):
        return st.integers(int(low), int(high))
    low += 0.01 * (default - low) * (limits.above is not None)
    high -= 0.01 * (high - default) * (limits.below is not None)
    return st.floats(low, high)


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("name", losses.names())
def test_any_parameters(framework: Framework, name: str, examples: int) -> None:
    @seeded(examples)
    @given(
        loss=hyperparameters(name),
        seed=st.integers(0, 10_000),
        sizes=st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(2, 9)),
    )
    def run(loss: MarginLoss, seed: int, sizes: tuple[int, int, int]) -> None:
        batch, classes, size = sizes
        rng = np.random.default_rng(seed)
        case = problem(loss, rng, batch=batch, classes=classes, size=size)
        check(framework, loss, case, "float64", 1e-9)

    run()


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("name", losses.names())
def test_any_angles(framework: Framework, name: str, examples: int) -> None:
    """Hypothesis looks for cosines that break a loss."""

    @seeded(examples)
    @given(angles=st.lists(st.floats(0, math.pi), min_size=1, max_size=4))
    def run(angles: list[float]) -> None:
        loss = losses.get(name)
        case = at_angles(loss, angles)
        found = framework.backend.evaluate_loss(loss, case, "float64")
        assert math.isfinite(found.loss)
        assert all(np.isfinite(gradient).all() for gradient in found.gradients.values())
        if all(abs(a - b) > 1e-6 for a in angles for b in (0, math.pi)):
            compare_with_spec(found, loss, case, "float64", 1e-7)

    run()


def wrong_ops(framework: Framework, change: str) -> type:
    """Return tensor code for ArcFace that is a little wrong."""
    right = framework.module("losses.arcface").ArcFaceOps

    class Wrong(right):
        def target(self, cosines: Any, norms: Any, prepared: Any) -> Any:
            if change == "no margin":
                return cosines
            sign = -1 if change == "sign" else 1
            return super().target(cosines, norms, prepared) * sign

        def reduce(self, target: Any, others: Any) -> Any:
            return super().reduce(target, others) * (1.0001 if change == "scaled" else 1)

    return Wrong


@pytest.mark.parametrize("change", ["no margin", "sign", "scaled"])
def test_mutants_are_caught(
    framework: Framework, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = framework.module("losses").OPS
    monkeypatch.setitem(registry, losses.ArcFace, wrong_ops(framework, change))
    assert broken(compare("arcface", "float32", {framework.name: framework.backend}, seeds=1))


@pytest.mark.parametrize("quantity", ["embeddings", "weight", "state", "lost"])
def test_wrong_results_are_caught(framework: Framework, quantity: str) -> None:
    loss = losses.get("curricularface")
    case = problem(loss, np.random.default_rng(0), dtype="float32")
    found = framework.backend.evaluate_loss(loss, case, "float32")
    if quantity == "lost":
        del found.gradients["weight"]
        with pytest.raises(KeyError):
            errors(found, evaluate_spec(loss, case))
        return
    if quantity == "state":
        found.state["t"] = found.state["t"] * 1.001
    else:
        found.gradients[quantity].flat[np.abs(found.gradients[quantity]).argmax()] *= 1.001
    measured = errors(found, evaluate_spec(loss, case))
    assert any(error > tolerance("float32", name) for name, error in measured.items())


def test_not_a_number_is_beyond_tolerance(framework: Framework) -> None:
    loss = losses.get("normface")
    case = problem(loss, np.random.default_rng(0))
    found = framework.backend.evaluate_loss(loss, case, "float64")
    found.gradients["weight"][0, 0] = math.nan
    assert errors(found, evaluate_spec(loss, case))["d weight"] == math.inf
