"""The interclass filter: cosines with other classes above a limit count as 0, and have no gradient.

Dense references filter all cosines first; a head filters a block at a time, on products that may
have the scale in them.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays, assert_same_evaluation
from frameworks import Framework
from row_steps import start_state
from test_head_sampling import CLASSES, SIZE, batches, start, stepped
from test_head_sampling import make as make_stepping
from test_head_sampling import reference as stepped_reference
from tiny_training import MODEL

from marginface import MarginfaceError, losses
from marginface.heads import plan
from marginface.learner import LearnerSpec
from marginface.losses import MarginLoss
from marginface.losses.problems import Problem, problem
from marginface.optimizers import SGD

LIMIT = 0.3


def takes_filter(loss: MarginLoss) -> bool:
    try:
        loss.check_filter(LIMIT)
    except MarginfaceError:
        return False
    return True


TAKING = [name for name in losses.names() if takes_filter(losses.get(name))]
# What a filter meets: products with the scale in them, several centres, negatives that are
# re-weighted, that are not 0 at a cosine of 0, and that the norm multiplies.
DENSE = ("cosface", "vpl", "uss", "adaptiveface")  # that are written out here
KINDS = ("arcface", "subcenter_arcface", "curricularface", "sphereface_r_v2", "sphereface")


def make(framework: Framework, loss: Any, dtype: str = "float64", **options: Any) -> Any:
    kind = getattr(framework.torch, dtype) if framework.name == "torch" else dtype
    return framework.backend.MarginHead(loss, SIZE, CLASSES, dtype=kind, **options)


def case_of(loss: MarginLoss, dtype: str = "float64") -> Problem:
    """Return a problem in which cosines, of own classes and of others, are above the limit."""
    case = problem(loss, np.random.default_rng(7), classes=CLASSES, size=SIZE, dtype=dtype)
    cosines = units(case.embeddings) @ units(case.weight).T
    best = cosines.reshape(len(cosines), CLASSES, -1).max(2)
    own = np.arange(CLASSES) == case.labels[:, None]
    assert 0.1 < (best > LIMIT)[~own].mean() < 0.9
    assert (best > LIMIT)[own].any()
    assert np.abs(best - LIMIT).min() > 1e-5
    return case


def units(rows: Any) -> Any:
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def check(framework: Framework, name: str, dtype: str = "float64", **options: Any) -> None:
    loss = losses.get(name)
    case = case_of(loss, dtype=dtype)
    more = {"bias": case.bias, "state": case.state, "draw": case.draw}
    head = make(framework, loss, dtype, interclass_filter=LIMIT, **options)
    arrays = case.embeddings, case.weight, case.labels
    found = framework.evaluate(head, *arrays, **more)
    wanted = loss.evaluate(*arrays, **more, interclass_filter=LIMIT)
    assert wanted.loss != loss.evaluate(*arrays, **more).loss
    assert_same_evaluation(found, wanted, RTOL[dtype])


@pytest.mark.parametrize("name", TAKING)
def test_the_filter_is_the_spec_s(framework: Framework, name: str) -> None:
    check(framework, name)


@pytest.mark.parametrize("name", KINDS)
def test_in_blocks_some_of_them_kept(
    framework: Framework, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    centers = losses.get(name).num_centers
    monkeypatch.setattr(plan, "KEPT_BYTES", 6 * 4 * 8 * centers)
    made = make(framework, name, block=4).plan(6, itemsize=8)
    assert (made.blocks, made.kept_blocks) == (3, 1)
    check(framework, name, block=4)


@pytest.mark.parametrize("name", KINDS)
def test_in_float32(framework: Framework, name: str) -> None:
    check(framework, name, "float32")


def test_where_products_wait_in_the_gradient(torch: Framework) -> None:
    """Kept products stay raw: the way back finds again what was filtered."""
    loss = losses.get("arcface")
    case = problem(loss, np.random.default_rng(1), batch=4, classes=CLASSES, size=6)
    options = {"dtype": torch.torch.float64, "block": 3, "interclass_filter": LIMIT}
    head = torch.backend.MarginHead(loss, 6, CLASSES, **options)
    assert head.plan(4, 8).in_gradient
    arrays = case.embeddings, case.weight, case.labels
    found = torch.evaluate(head, *arrays)
    wanted = loss.evaluate(*arrays, interclass_filter=LIMIT)
    assert_same_evaluation(found, wanted, RTOL["float64"])


@pytest.mark.parametrize("name", ["arcface", "subcenter_arcface"])
def test_of_a_sample(framework: Framework, name: str) -> None:
    loss = losses.get(name)
    w, bias = start(loss)
    steps = batches(loss, 0.8)
    head = make_stepping(framework, loss, sample_rate=0.8, block=3, interclass_filter=LIMIT)
    found, gradients = stepped(framework, head, w, bias, steps)
    wanted, right = stepped_reference(loss, w, bias, steps, interclass_filter=LIMIT)
    assert_same_arrays(found, wanted, RTOL["float64"])
    for got, each in zip(gradients, right, strict=True):
        assert_same_arrays({"x": got}, {"x": each}, RTOL["float64"])


def test_logits_are_filtered(framework: Framework) -> None:
    """Those with margins; nobody's own class is known to those without."""
    loss = losses.get("cosface", scale=8)
    case = case_of(loss)
    head = make(framework, loss, interclass_filter=LIMIT)
    head.load_arrays({"weight": case.weight})
    given = case.embeddings, case.labels
    if framework.name == "torch":
        given = tuple(map(framework.torch.tensor, given))
    own = np.arange(CLASSES) == case.labels[:, None]
    cosines = units(case.embeddings) @ units(case.weight).T
    wanted = np.where(own, cosines - loss.margin, np.where(cosines > LIMIT, 0, cosines))
    np.testing.assert_allclose(framework.array(head.logits(*given)), 8 * wanted, atol=1e-12)
    np.testing.assert_allclose(framework.array(head.logits(given[0])), 8 * cosines, atol=1e-12)


def test_a_cosine_at_the_limit_passes(framework: Framework) -> None:
    """Exactly 1/2 is not above it; the next larger number is."""
    x, labels = np.array([[1.0, 0, 0, 0, 0]]), np.array([1])
    w = np.array([[1.0, 1, 1, 1, 0], [0, 1, 0, 0, 0]])
    loss = losses.get("normface", scale=4)
    for limit, cosine in ((0.5, 0.5), (np.nextafter(0.5, 0), 0.0)):
        kind = framework.torch.float64 if framework.name == "torch" else "float64"
        head = framework.backend.MarginHead(loss, 5, 2, dtype=kind, interclass_filter=float(limit))
        found = framework.evaluate(head, x, w, labels)
        assert found.loss == pytest.approx(np.log1p(np.exp(4 * cosine)), rel=1e-14)
        assert found.gradients["weight"][0].any() == bool(cosine)


def dense(loss: Any, x: Any, w: Any, bias: Any, state: Any, labels: Any) -> float:
    """Return a loss of cosines that are filtered first, written out for those of `DENSE`."""
    own, vectors = np.arange(CLASSES) == labels[:, None], units(w)
    there = state["seen"] > 0 if "seen" in state else np.zeros(CLASSES)
    if loss.name == "vpl":  # class vectors are mixed before they are compared
        share = loss.share * there[:, None]
        vectors = units((1 - share) * vectors + share * state["latest"])
    cosines = units(x) @ vectors.T
    margins = bias if loss.name == "adaptiveface" else np.full(CLASSES, loss.margin)
    targets = np.cos(np.arccos(cosines) + margins) if loss.name == "vpl" else cosines - margins
    logits = loss.scale * np.where(own, targets, np.where(cosines > LIMIT, 0, cosines))
    each = np.log(np.exp(logits).sum(1)) - logits[own]
    if loss.name == "uss":  # the pairs with what classes keep are not filtered
        pairs = units(x) @ state["latest"].T - loss.pair_margin * own
        signs = np.where(own, -1, 1)
        each += (there * np.log1p(np.exp(signs * (loss.scale * pairs + bias)))).sum(1)
    if loss.name == "adaptiveface":
        each += loss.pull * (1 - bias.mean())
    return float(each.mean())


def dense_case(name: str) -> tuple[Any, dict[str, Any], Any, dict[str, Any]]:
    """Return a loss, what it is differentiated by, labels, and the state."""
    smaller = {"margin": 0.03} if name == "vpl" else {}  # no angle beyond pi
    loss = losses.get(name, scale=4.0, **smaller)
    case = case_of(loss)
    given = {"embeddings": case.embeddings, "weight": case.weight}
    if case.bias is not None:
        given["bias"] = case.bias
    return loss, given, case.labels, start_state(loss, CLASSES, SIZE)


@pytest.mark.parametrize("name", DENSE)
def test_the_spec_filters_before_all_else(name: str) -> None:
    """Its loss is that of filtered cosines, written out; its gradients are that value's slopes."""
    loss, given, labels, state = dense_case(name)

    def value(change: dict[str, Any], step: float) -> float:
        x, w, bias = (
            None if key not in given else given[key] + step * change.get(key, 0)
            for key in ("embeddings", "weight", "bias")
        )
        return dense(loss, x, w, bias, state, labels)

    x, w, bias = given["embeddings"], given["weight"], given.get("bias")
    found = loss.evaluate(x, w, labels, bias=bias, state=state, interclass_filter=LIMIT)
    assert found.loss == pytest.approx(value({}, 0), rel=1e-13)
    rng = np.random.default_rng(0)
    for key, array in given.items():
        way = rng.normal(size=array.shape)
        slope = (value({key: way}, 1e-6) - value({key: way}, -1e-6)) / 2e-6
        along = (found.gradients[key] * way).sum()
        assert along == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("block", [None, 4])
@pytest.mark.parametrize("name", DENSE)
def test_heads_filter_as_the_spec_once_rows_count(
    framework: Framework, name: str, block: int | None
) -> None:
    loss, given, labels, state = dense_case(name)
    x, w, bias = given["embeddings"], given["weight"], given.get("bias")
    head = make(framework, loss, interclass_filter=LIMIT, block=block)
    found = framework.evaluate(head, x, w, labels, bias=bias, state=state)
    wanted = loss.evaluate(x, w, labels, bias=bias, state=state, interclass_filter=LIMIT)
    assert_same_evaluation(found, wanted, RTOL["float64"])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("softmax", 0.4, "does not go with softmax, whose logits are no cosines; leave it out"),
        ("uniface", 0.4, "does not go with uniface, which takes no logsumexp of the other classes"),
        ("sphereface2", 0.4, "does not go with sphereface2, which takes no logsumexp"),
        ("arcface", 0, "a cosine above 0 and below 1, such as 0.4, got 0; leave it out for no f"),
        ("arcface", 1.0, "a cosine above 0 and below 1, such as 0.4, got 1.0"),
        ("arcface", float("nan"), "a cosine above 0 and below 1, such as 0.4, got nan"),
        ("arcface", "0.4", "interclass_filter must be a number, got '0.4'"),
        ("arcface", True, "interclass_filter must be a number, got True"),
    ],
)
def test_refusals(framework: Framework, name: str, value: Any, said: str) -> None:
    with pytest.raises(MarginfaceError, match=said):
        framework.backend.MarginHead(name, SIZE, CLASSES, interclass_filter=value)
    case = problem(losses.get(name), np.random.default_rng(0))
    arrays = case.embeddings, case.weight, case.labels
    with pytest.raises(MarginfaceError, match=said):
        losses.get(name).evaluate(*arrays, bias=case.bias, interclass_filter=value)


def test_learners_and_configurations_hand_it_on(framework: Framework) -> None:
    spec = LearnerSpec(MODEL, losses.get("arcface"), 6, SGD(), seed=0, interclass_filter=LIMIT)
    head = framework.backend.create_learner(spec).head
    assert head.interclass_filter == LIMIT
    if framework.name == "tf":
        assert type(head).from_config(head.get_config()).interclass_filter == LIMIT


def test_a_lost_filter_is_caught(framework: Framework) -> None:
    loss = losses.get("arcface")
    case = case_of(loss)
    case = replace(case, embeddings=case.embeddings[:1], labels=case.labels[:1])
    arrays = case.embeddings, case.weight, case.labels
    found = framework.evaluate(make(framework, loss), *arrays)
    wanted = loss.evaluate(*arrays, interclass_filter=LIMIT)
    with pytest.raises(AssertionError):
        assert_same_evaluation(found, wanted, RTOL["float64"])
