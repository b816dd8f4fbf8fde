"""What a head says beside its loss: cosines, logits and metrics, against the spec."""

from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays
from frameworks import Framework

from marginface import MarginfaceError, losses
from marginface.heads import Shard, measure
from marginface.losses import MarginLoss
from marginface.optimizers import SGD

SIZE, CLASSES, BATCH = 4, 7, 6
LABELS = np.array([0, 6, 3, 3, 2, 0])  # in the first, a middle and the last block


class Case:
    """A head of blocks of three classes, in float64, and what it is called with."""

    def __init__(self, framework: Framework, loss: MarginLoss) -> None:
        rng = np.random.default_rng(3)
        self.framework, self.loss = framework, loss
        double = framework.torch.float64 if framework.name == "torch" else "float64"
        self.head = framework.backend.MarginHead(loss, SIZE, CLASSES, dtype=double, block=3)
        self.x = rng.normal(size=(BATCH, SIZE)) * 3
        self.w = rng.normal(size=(CLASSES * loss.num_centers, SIZE))
        self.bias = loss.initial_bias(CLASSES)
        if self.bias is not None:
            self.bias = self.bias + rng.normal(size=self.bias.shape)
        self.draw = loss.draw(rng, BATCH)
        arrays = {"weight": self.w} | ({} if self.bias is None else {"bias": self.bias})
        self.head.load_arrays(self.head.arrays() | arrays)
        self.wanted = loss.evaluate(self.x, self.w, LABELS, bias=self.bias, draw=self.draw)

    def tensors(self) -> tuple[Any, Any, dict[str, Any]]:
        """Return embeddings, labels and draw as the framework takes them."""
        if self.framework.name == "tf":
            return self.framework.tf.Variable(self.x), LABELS, self.draw
        tensor = self.framework.torch.tensor
        draw = {name: tensor(value) for name, value in self.draw.items()}
        return tensor(self.x, requires_grad=True), tensor(LABELS), draw


def unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("name", losses.names())
def test_the_loss_is_that_of_the_logits(framework: Framework, name: str) -> None:
    """Logits with margins, put through the spec's reduction, are the loss; the state stays."""
    case = Case(framework, losses.get(name))
    before = case.head.arrays()
    x, labels, draw = case.tensors()
    logits = case.framework.array(case.head.logits(x, labels, draw))
    assert logits.shape == (BATCH, CLASSES)
    found = [
        case.loss.reduce(list(row), label)[0] + case.loss.penalty(norm)[0]
        for row, label, norm in zip(logits, LABELS, np.linalg.norm(case.x, axis=1), strict=True)
    ]
    if (pull := case.loss.margin_pull) is not None:  # which no logit has
        found = np.add(found, pull * (1 - case.bias.clip(0, 1).mean()))
    np.testing.assert_allclose(np.mean(found), case.wanted.loss, rtol=RTOL["float64"])
    assert_same_arrays(case.head.arrays(), before, 0)


@pytest.mark.parametrize("name", ["softmax", "arcface", "subcenter_arcface", "li_arcface"])
@pytest.mark.parametrize("gradient", ["exact", "straight_through"])
def test_so_is_its_gradient(framework: Framework, name: str, gradient: str) -> None:
    known = {"gradient": gradient} if "gradient" in losses.parameters(name) else {}
    case = Case(framework, losses.get(name, **known))
    x, labels, draw = case.tensors()
    if framework.name == "torch":
        code = framework.torch
        code.nn.functional.cross_entropy(case.head.logits(x, labels, draw), labels).backward()
        found = {"embeddings": x.grad, "weight": case.head.weight.grad}
    else:
        code = framework.tf
        with code.GradientTape() as tape:
            logits = case.head.logits(x, labels, draw)
            each = code.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            value = code.reduce_mean(each)
        sources = {"embeddings": x, "weight": case.head.weight.value}
        found = {
            name: code.convert_to_tensor(g) for name, g in tape.gradient(value, sources).items()
        }
    wanted = {name: case.wanted.gradients[name] for name in found}
    assert_same_arrays(
        {n: case.framework.array(g) for n, g in found.items()}, wanted, RTOL["float64"]
    )


@pytest.mark.parametrize("name", ["softmax", "arcface", "subcenter_arcface", "magface", "uniface"])
def test_without_labels_there_is_no_margin(framework: Framework, name: str) -> None:
    case = Case(framework, losses.get(name, scale=8))
    x, _, _ = case.tensors()
    expected = unit(case.x) @ unit(case.w).T
    expected = expected.reshape(BATCH, CLASSES, -1).max(2)
    np.testing.assert_allclose(
        case.framework.array(case.head.cosines(x)), expected, rtol=0, atol=1e-12
    )
    scale = np.linalg.norm(case.x, axis=1, keepdims=True) if case.loss.norm_scaled else 1
    logits = (expected if case.loss.normalized else case.x @ case.w.T) * scale * 8
    logits = logits if case.bias is None else logits + case.bias
    np.testing.assert_allclose(case.framework.array(case.head.logits(x)), logits, rtol=1e-12)


@pytest.mark.parametrize("name", losses.names())
def test_metrics_are_the_spec_s(framework: Framework, name: str) -> None:
    case = Case(framework, losses.get(name))
    near = case.w[LABELS * case.loss.num_centers]
    shares = set()
    for pull in (0.0, 50.0):
        case.x = case.x + pull * near
        x, labels, _ = case.tensors()
        found = case.head.measure(x, labels)
        expected = measure(case.loss, case.x, case.w, LABELS, case.bias)
        assert float(found.accuracy) == expected.accuracy
        shares.add(expected.accuracy)
        assert float(found.target_angle) == pytest.approx(expected.target_angle, rel=1e-9)
    assert len(shares) == 2


@pytest.mark.parametrize("name", ["softmax", "arcface", "subcenter_arcface"])
def test_metrics_of_sampled_classes(framework: Framework, name: str) -> None:
    """Nothing moves, though a call would step the class weights."""
    loss, rng = losses.get(name), np.random.default_rng(0)
    head = framework.backend.MarginHead(
        loss, SIZE, 40, update=SGD(), sample_rate=0.25, sampling="corrected", block=3
    )
    head.rate = 0.1
    before = {name: array.copy() for name, array in head.arrays().items()}
    x = rng.normal(size=(BATCH, SIZE)).astype(np.float32)
    drawn = head.draw(rng, LABELS)
    classes = framework.array(drawn["classes"])
    rows = (classes[:, None] * loss.num_centers + np.arange(loss.num_centers)).ravel()
    given = framework.torch.tensor(x) if framework.name == "torch" else x
    labels = framework.torch.tensor(LABELS) if framework.name == "torch" else LABELS
    bias = before.get("bias")
    for draw, chosen, numbers in ((drawn, rows, classes), (None, slice(None), np.arange(40))):
        found = head.measure(given, labels, draw)
        places = np.searchsorted(numbers, LABELS)
        own_bias = None if bias is None else bias[numbers]
        expected = measure(loss, x, before["weight"][chosen], places, own_bias)
        assert float(found.accuracy) == pytest.approx(expected.accuracy, abs=1e-6)
        assert float(found.target_angle) == pytest.approx(expected.target_angle, rel=1e-5)
    assert_same_arrays(head.arrays(), before, 0)


def test_metrics_in_a_graph(tf: Framework) -> None:
    case = Case(tf, losses.get("arcface"))
    graph = tf.tf.function(lambda x, y: case.head.measure(x, y))
    found = graph(case.x, LABELS)
    expected = measure(case.loss, case.x, case.w, LABELS)
    assert [float(each) for each in found] == pytest.approx(list(expected), rel=1e-9)


@pytest.mark.parametrize("method", ["cosines", "logits"])
def test_a_shard_has_no_logits_of_all(framework: Framework, method: str) -> None:
    head = framework.backend.MarginHead("arcface", SIZE, 6, shard=Shard(1, 2))
    with pytest.raises(MarginfaceError, match="shard 1 of 2: no process has the logits of all"):
        getattr(head, method)(_tensor(framework, np.ones((2, SIZE), np.float32)))


@pytest.mark.parametrize("method", ["logits", "measure"])
def test_wrong_batches_are_named(framework: Framework, method: str) -> None:
    head = framework.head("arcface", SIZE, 6)
    call = getattr(head, method)
    x = _tensor(framework, np.ones((2, SIZE), np.float32))
    for embeddings, labels, message in (
        (_tensor(framework, np.ones((2, 3), np.float32)), [0, 1], r"expected \[batch, 4\]"),
        (x, [0, 1, 2], r"labels have shape .*, expected \[2\]"),
        (x, [0.5, 1.0], "labels must be integers"),
        (x, [0, 6], "label 6 is out of range for 6 classes"),
    ):
        with pytest.raises(MarginfaceError, match=message):
            call(embeddings, _tensor(framework, np.array(labels)))
    with_draw = framework.head("elasticface_arc", SIZE, 6)
    with pytest.raises(MarginfaceError, match="draws margin at random, got nothing"):
        with_draw.logits(x, _tensor(framework, np.array([0, 1])))


def _tensor(framework: Framework, values: Any) -> Any:
    return framework.torch.tensor(values) if framework.name == "torch" else values
