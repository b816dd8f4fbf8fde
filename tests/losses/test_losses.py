"""The spec itself: hand-computed values, finite differences, and what it refuses."""

import math
import re
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface import MarginfaceError, losses
from marginface.losses import reference
from marginface.losses.problems import label
from marginface.parity import problem, variants

SEEDED = settings(max_examples=40, deadline=None, derandomize=True)
WITH_MARGIN = [
    losses.get("cosface"),
    losses.get("arcface"),
    losses.get("arcface", past_pi="clip"),
    losses.get("combined_margin", m1=1.35, m2=0.3, m3=0.2),
]


def small(seed: int, batch: int = 4, classes: int = 5, size: int = 6) -> tuple:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(batch, size)),
        rng.normal(size=(classes, size)),
        rng.integers(0, classes, batch),
    )


def exact_variants() -> list[losses.MarginLoss]:
    """Every loss in every choice whose gradient is its values' derivative."""
    found = [variant for name in losses.names() for variant in variants(name)]
    return [loss for loss in found if loss.exact]


@pytest.mark.parametrize("loss", exact_variants(), ids=label)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_the_values_slopes(loss: losses.MarginLoss, seed: int) -> None:
    """Central differences along a random direction, for every argument.

    The statistics that a loss takes from the batch are constants to the gradient: they are held
    where they were.
    """
    loss = replace(loss, scale=3.0)
    case = problem(loss, np.random.default_rng(seed), batch=3, classes=4, size=3)
    arrays = {"embeddings": case.embeddings, "weight": case.weight}
    if case.bias is not None:
        arrays["bias"] = case.bias

    def value(changed: dict) -> losses.Evaluation:
        return loss.evaluate(
            **arrays | changed, labels=case.labels, state=case.state, draw=case.draw
        )

    held, fix = [], reference.fix
    with mock.patch.object(reference, "fix", lambda *given: held.append(fix(*given)) or held[-1]):
        value({})
    with mock.patch.object(reference, "fix", return_value=held[0]):
        gradients = value({}).gradients
        assert set(gradients) == set(arrays)
        for name, values in arrays.items():
            way = np.random.default_rng(seed + 10).normal(size=values.shape)
            ends = [value({name: values + step * way}).loss for step in (1e-6, -1e-6)]
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(
                float((gradients[name] * way).sum()), rel=1e-5, abs=1e-7
            )


@SEEDED
@given(cosine=st.floats(-1, 1), margin=st.floats(0, 1.5))
def test_combined_margin_holds_the_others(cosine: float, margin: float) -> None:
    arcface = losses.get("arcface", margin=margin).target(cosine, 1.0, {})
    combined = losses.get("combined_margin", m2=margin).target(cosine, 1.0, {})
    assert combined == arcface
    cosface = losses.get("cosface", margin=margin).target(cosine, 1.0, {})
    combined = losses.get("combined_margin", m2=0.0, m3=margin).target(cosine, 1.0, {})
    assert combined.value == pytest.approx(cosface.value, abs=1e-12)


@pytest.mark.parametrize("loss", WITH_MARGIN, ids=str)
@SEEDED
@given(seed=st.integers(0, 10_000))
def test_a_margin_costs(loss: losses.MarginLoss, seed: int) -> None:
    x, w, labels = small(seed)
    plain = losses.get("normface", scale=loss.scale).evaluate(x, w, labels)
    assert loss.evaluate(x, w, labels).loss >= plain.loss - 1e-9


@pytest.mark.parametrize("past_pi", ["monotone", "mirror"])
@pytest.mark.parametrize("m1", [1.0, 1.5, 4.0])
def test_a_continued_target_falls_with_the_angle(m1: float, past_pi: str) -> None:
    loss = losses.get("combined_margin", m1=m1, m2=0.5, past_pi=past_pi)
    values = [
        loss.target(math.cos(theta), 1.0, {}).value for theta in np.linspace(0, math.pi, 2001)
    ]
    assert (np.diff(values) < 1e-12).all()


def test_without_a_policy_the_target_rises_past_pi() -> None:
    loss = losses.get("arcface", past_pi="none")
    assert loss.target(-1.0, 1.0, {}).value > loss.target(math.cos(math.pi - 0.5), 1.0, {}).value


def test_published_continuation_past_pi() -> None:
    cosine = math.cos(math.pi - 0.3)
    monotone = losses.get("arcface", margin=0.5, past_pi="monotone").target(cosine, 1.0, {})
    assert monotone.value == pytest.approx(cosine - 0.5 * math.sin(0.5), rel=1e-12)
    clipped = losses.get("arcface", margin=0.5, past_pi="clip").target(cosine, 1.0, {})
    assert clipped == losses.Logit(-1.0, 0.0)
    mirror = losses.get("arcface", margin=0.5, past_pi="mirror")
    assert mirror.target(cosine, 1.0, {}).value == pytest.approx(-2 - math.cos(math.pi + 0.2))
    # Value and slope go on without a jump.
    before, after = (mirror.target(math.cos(math.pi - 0.5 + a), 1.0, {}) for a in (-1e-9, 1e-9))
    assert after == pytest.approx(before, abs=1e-8)


def test_gradient_modes() -> None:
    # At theta = 0.05 the true slope is 10.5, at 2.7 it is -0.14 (past pi, without a policy).
    exact = losses.get("arcface", past_pi="none")
    assert exact.target(math.cos(0.05), 1.0, {}).slope == pytest.approx(10.46, abs=0.01)
    assert exact.target(math.cos(2.7), 1.0, {}).slope == pytest.approx(-0.137, abs=0.001)
    through = losses.get("arcface", gradient="straight_through")
    assert through.target(math.cos(0.05), 1.0, {}).slope == 1.0
    assert (
        through.target(math.cos(0.05), 1.0, {}).value == exact.target(math.cos(0.05), 1.0, {}).value
    )


def test_a_zero_embedding_has_no_direction() -> None:
    found = losses.get("arcface").evaluate(np.zeros((1, 2)), np.eye(2), np.array([0]))
    assert (found.gradients["embeddings"] == 0).all()
    assert math.isfinite(found.loss)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("arcfase", {}, "did you mean 'arcface'"),
        ("arcface", {"scale": 0}, "arcface: scale must be greater than 0, got 0"),
        ("arcface", {"scale": math.nan}, "scale must be greater than 0, got nan"),
        ("arcface", {"scale": np.float64("nan")}, "scale must be greater than 0, got nan"),
        ("arcface", {"margin": 28.6}, "got 28.6; 28.6 degrees are 0.4992 radians"),
        ("arcface", {"margin": 90}, "got 90; 90 degrees are 1.571 radians"),
        ("combined_margin", {"m2": 28.6}, "28.6 degrees are 0.4992 radians"),
        ("elasticface_arc", {"margin": 45}, "45 degrees are 0.7854 radians"),
        ("arcface", {"margin": 3.5}, "margin must be in [0, pi) radians, got 3.5"),
        ("arcface", {"margin": "0.5"}, "margin must be a number, got '0.5'"),
        ("arcface", {"margn": 0.5}, "did you mean 'margin'"),
        ("arcface", {"gradient": "true"}, "gradient must be one of ('exact', 'straight_through')"),
        ("arcface", {"past_pi": "wrap"}, "one of ('monotone', 'mirror', 'clip', 'none')"),
        ("cosface", {"margin": -0.1}, "margin must be in [0, 2), got -0.1"),
        ("combined_margin", {"m1": 0.9}, "m1 must be at least 1"),
        ("normface", {"margin": 0.5}, "unknown normface parameter 'margin'"),
    ],
)
def test_refusals(name: str, values: dict, said: str) -> None:
    with pytest.raises(MarginfaceError) as error:
        losses.get(name, **values)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_numpys_numbers_become_pythons() -> None:
    loss = losses.get("arcface", scale=np.int64(32), margin=np.float32(0.5))
    assert repr(loss) == (
        "ArcFace(scale=32, margin=0.5, easy_margin=False, gradient='exact', past_pi='monotone')"
    )


@pytest.mark.parametrize("name", losses.names())
def test_every_margin_names_its_source(name: str) -> None:
    """An arXiv number, in the one place that says it."""
    loss = losses.get(name)
    source = re.search(r"\d{4}\.\d{5}|(CVPR|ECCV|ICCV) \d{4}", type(loss).__doc__ or "")
    assert source or not loss.normalized


def test_reference_leaves_arguments_alone() -> None:
    x, w, labels = small(0)
    copies = x.copy(), w.copy(), labels.copy()
    losses.get("arcface").evaluate(x, w, labels)
    assert all((a == b).all() for a, b in zip((x, w, labels), copies, strict=True))


def prepare(loss: losses.MarginLoss, cosines: list, norms: list, state: dict, **draw) -> tuple:
    drawn = {name: np.array(values) for name, values in draw.items()}
    return loss.prepare(np.array(cosines), np.array(norms), state, drawn)


def test_annealing_by_hand() -> None:
    loss = losses.get("sphereface")
    prepared, state = prepare(loss, [0.1, 0.2], [1.0, 1.0], loss.initial_state(7))
    assert prepared["annealing"].tolist() == pytest.approx([1000 / 1.12] * 2)
    assert state == {"step": 1}
    late = {"step": np.array(10_000)}
    assert prepare(loss, [0.1], [1.0], late)[0]["annealing"].tolist() == [5.0]


def test_adaface_statistics_by_hand() -> None:
    loss = losses.get("adaface", t_alpha=0.25, h=0.5)
    prepared, state = prepare(loss, [0.1, 0.2], [10.0, 14.0], {"mean": 20.0, "std": 100.0})
    mean, std = 0.25 * 12 + 0.75 * 20, 0.25 * math.sqrt(8) + 75  # unbiased: sum of squares 8, by 1
    assert state == {"mean": pytest.approx(mean), "std": pytest.approx(std)}
    wanted = [0.5 * (norm - mean) / (std + 1e-3) for norm in (10, 14)]
    assert prepared["quality"].tolist() == pytest.approx(wanted)


def test_adaface_keeps_its_deviation_for_one_sample() -> None:
    loss = losses.get("adaface", t_alpha=0.5)
    _, state = prepare(loss, [0.1], [10.0], {"mean": 20.0, "std": 100.0})
    assert state == {"mean": 15.0, "std": 100.0}


def test_curricularface_mean_by_hand() -> None:
    prepared, state = prepare(losses.get("curricularface"), [0.2, 0.6], [1.0, 1.0], {"t": 0.5})
    assert state["t"] == pytest.approx(0.01 * 0.4 + 0.99 * 0.5)
    assert prepared["threshold"][1] == pytest.approx(math.cos(math.acos(0.6) + 0.5))


@pytest.mark.parametrize(
    ("assignment", "given"),
    [
        ("sorted", [0.2, 0.3, 0.1]),  # the largest margin to the smallest cosine
        ("released", [0.3, 0.1, 0.2]),  # sorted margins in the order of the samples: 2, 0, 1
    ],
)
def test_who_gets_the_larger_margin(assignment: str, given: list) -> None:
    loss = losses.get("elasticface_arc_plus", assignment=assignment)
    found, _ = prepare(loss, [0.5, 0.1, 0.9], [1.0] * 3, {}, margin=[0.3, 0.1, 0.2])
    assert found["margin"].tolist() == given


@pytest.mark.parametrize("name", ["sphereface2", "uniface"])
@pytest.mark.parametrize("classes", [1, 2, 10, 100_000])
def test_initial_bias(name: str, classes: int) -> None:
    loss = losses.get(name)
    bias = float(loss.initial_bias(classes)[0])
    if name == "uniface":
        assert bias == -math.log(10 * classes)
        return
    # At cosines of 0 the loss, of one target and the others, is smallest at this bias.
    right = loss.scale * loss.target(0.0, 1.0, {}).value
    wrong = loss.scale * loss.negative(0.0, {}).value

    def slope(b: float) -> float:
        others = max(classes - 1, 1)
        positive, negative = 1 / (1 + math.exp(right + b)), 1 / (1 + math.exp(-wrong - b))
        return -loss.alpha * positive + (1 - loss.alpha) * others * negative

    assert slope(bias) == pytest.approx(0, abs=1e-10)
    assert slope(bias - 0.1) < 0 < slope(bias + 0.1)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("sphereface", {"margin": 0.5}, "margin must be at least 1"),
        ("sphereface", {"lambda_min": -1}, "sphereface: lambda_min must be at least 0, got -1"),
        ("sphereface_r_v1", {"margin": 0}, "margin must be at least 1"),
        ("sphereface_r_v2", {"margin": 0.9}, "margin must be at least 1"),
        ("sphereface2", {"alpha": 1}, "sphereface2: alpha must be in (0, 1), got 1"),
        ("sphereface2", {"t": 0.5}, "t must be at least 1"),
        ("sphereface2", {"lw": 0}, "lw must be greater than 0"),
        ("sphereface2", {"margin": 1.0}, "margin must be in [0, 1)"),
        ("li_arcface", {"margin": -0.1}, "margin must be in [0, pi) radians"),
        (
            "subcenter_arcface",
            {"centers": 0},
            "centers must be a whole number of at least 1, got 0",
        ),
        ("subcenter_arcface", {"centers": 1.5}, "centers must be a whole number of at least 1"),
        ("magface", {"l_a": 0}, "l_a must be greater than 0"),
        ("magface", {"u_a": 5}, "u_a must be greater than l_a = 10.0, got 5"),
        ("magface", {"l_margin": 0.9}, "l_margin must be in [0, u_margin = 0.8], got 0.9"),
        ("magface", {"lambda_g": -1}, "lambda_g must be at least 0"),
        ("magface", {"easy_margin": 1}, "easy_margin must be True or False, got 1"),
        ("magface", {"margin": 0.5}, "unknown magface parameter 'margin'"),
        ("adaface", {"t_alpha": 0}, "t_alpha must be in (0, 1]"),
        ("adaface", {"eps": 0.5}, "eps must be in [0, 0.5)"),
        ("adaface", {"h": math.inf}, "h must be at least 0"),
        ("adaface", {"past_pi": "monotone"}, "past_pi must be one of ('clip', 'none')"),
        ("curricularface", {"alpha": 0}, "alpha must be in (0, 1]"),
        ("elasticface_arc", {"std": -0.1}, "std must be at least 0"),
        ("elasticface_cos", {"margin": 2}, "margin must be in [0, 2)"),
        ("elasticface_arc_plus", {"assignment": "any"}, "assignment must be one of"),
        ("uniface", {"negative_weight": 0}, "negative_weight must be greater than 0"),
        ("uniface", {"clamp": "yes"}, "clamp must be True or False, got 'yes'"),
        ("circle", {"margin": 1}, "margin must be in [0, 1)"),
        (
            "circle",
            {"gradient": "straight_through"},
            "gradient must be one of ('detached', 'exact')",
        ),
        ("mv_am", {"t": 0.2}, "mv_am: t must be at least 1, got 0.2"),
        ("mv_am", {"margin_where": "zero"}, "margin_where must be one of ('above_margin', "),
        ("mv_arc", {"margin": 90}, "90 degrees are 1.571 radians"),
        ("arcnegface", {"alpha": 0}, "alpha must be greater than 0"),
        ("arcnegface", {"sigma": 0}, "sigma must be greater than 0"),
        ("arcnegface", {"weight_gradient": "none"}, "weight_gradient must be one of ('detached'"),
    ],
)
def test_refusals_of_the_family(name: str, values: dict, said: str) -> None:
    assert issubclass(MarginfaceError, ValueError)
    with pytest.raises(MarginfaceError) as error:
        losses.get(name, **values)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (losses.ArcFace, {"easy_margin": "no"}, "easy_margin must be True or False, got 'no'"),
        (losses.ArcFace, {"margin": True}, "arcface: margin must be a number, got True"),
        (losses.UniFace, {"clamp": 0}, "uniface: clamp must be True or False, got 0"),
        (losses.SubCenterArcFace, {"centers": "3"}, "centers must be a number, got '3'"),
    ],
)
def test_classes_refuse_what_get_refuses(kind: type, values: dict, said: str) -> None:
    with pytest.raises(MarginfaceError, match=said):
        kind(**values)


def test_a_parameter_called_name_is_unknown() -> None:
    with pytest.raises(MarginfaceError, match="unknown arcface parameter 'name'"):
        losses.get("arcface", name="cosface")


@pytest.mark.parametrize("label", [-1, 2])
def test_the_reference_and_the_cleaning_refuse_labels_out_of_range(label: int) -> None:
    embeddings, labels = np.ones((2, 2)), np.array([0, label])
    said = f"label {label} is out of range for 2 classes"
    with pytest.raises(MarginfaceError, match=said):
        losses.get("arcface").evaluate(embeddings, np.eye(2), labels)
    with pytest.raises(MarginfaceError, match=said):
        losses.angles_to_dominant(embeddings, labels, np.ones((4, 2)), centers=2)


def test_cleaning_needs_centres() -> None:
    with pytest.raises(MarginfaceError, match="centers must be at least 1, a whole number, got 0"):
        losses.angles_to_dominant(np.ones((1, 2)), np.array([0]), np.ones((4, 2)), centers=0)


def test_the_reference_refuses_a_missing_draw() -> None:
    with pytest.raises(MarginfaceError, match="elasticface_arc draws margin at random"):
        losses.get("elasticface_arc").evaluate(np.ones((1, 2)), np.eye(2), np.array([0]))


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        (name, scale)
        for name in losses.names()
        for scale in (0, -1, math.inf, math.nan)
        if scale != losses.parameters(name)["scale"]  # 0 lets AdaCos choose
    ],
)
def test_every_scale_is_checked(name: str, scale: float) -> None:
    with pytest.raises(MarginfaceError, match="scale must be"):
        losses.get(name, scale=scale)
