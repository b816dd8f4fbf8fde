"""A head that goes over its classes in blocks finds what one that has them all at once finds."""

from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_evaluation
from frameworks import Framework
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marginface import MarginfaceError, losses
from marginface.heads import HeadPlan, plan, plan_head

SIZE, CLASSES, BATCH = 5, 7, 6
LABELS = np.array([0, 6, 3, 3, 2, 0])  # in the first, a middle and the last block


def make(framework: Framework, loss: Any, classes: int, dtype: str, block: int | None) -> Any:
    options = {"dtype": getattr(framework.torch, dtype) if framework.name == "torch" else dtype}
    return framework.backend.MarginHead(loss, SIZE, classes, block=block, **options)


def check(
    framework: Framework, name: str, block: int | None, dtype: str = "float64", seed: int = 0
) -> None:
    """Hold a head to the spec, weights of any length, a bias that is not the initial one."""
    loss, rng = losses.get(name), np.random.default_rng(seed)
    x = (rng.normal(size=(BATCH, SIZE)) * 5).astype(dtype)
    w = rng.normal(size=(CLASSES * loss.num_centers, SIZE)).astype(dtype)
    bias, draw = loss.initial_bias(CLASSES), loss.draw(rng, BATCH)
    if bias is not None:
        bias = bias + rng.normal(size=bias.shape)
    head = make(framework, loss, CLASSES, dtype, block)
    found = framework.evaluate(head, x, w, LABELS, bias=bias, draw=draw)
    wanted = loss.evaluate(x, w, LABELS, bias=bias, draw=draw)
    assert_same_evaluation(found, wanted, RTOL[dtype])


@pytest.mark.parametrize("name", losses.names())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_wait_in_the_gradients_memory(torch: Framework, name: str, dtype: str) -> None:
    """Fewer embeddings than they are long; a second way back finds the same gradient."""
    library, loss, rng = torch.torch, losses.get(name), np.random.default_rng(1)
    labels, size = LABELS[:4], 8
    options = {"dtype": getattr(library, dtype), "block": 3}
    head = torch.backend.MarginHead(loss, size, CLASSES, **options)
    itemsize = np.dtype(dtype).itemsize
    assert head.plan(len(labels), itemsize).in_gradient
    x = (rng.normal(size=(len(labels), size)) * 5).astype(dtype)
    w = rng.normal(size=(CLASSES * loss.num_centers, size)).astype(dtype)
    more = {"bias": loss.initial_bias(CLASSES), "draw": loss.draw(rng, len(labels))}
    found = torch.evaluate(head, x, w, labels, **more)
    assert_same_evaluation(found, loss.evaluate(x, w, labels, **more), RTOL[dtype])
    given = library.tensor(x, requires_grad=True)
    draws = {key: library.tensor(value) for key, value in more["draw"].items()}
    value = head(given, library.tensor(labels), draws)
    once, again = (
        library.autograd.grad(value, [given, head.weight], retain_graph=True) for _ in range(2)
    )
    for first, second in zip(once, again, strict=True):
        library.testing.assert_close(first, second)


# Of 7 classes: blocks of 3, one of them kept, the last not whole.
KEPT_OF_ONE = BATCH * 4 * 8


@pytest.mark.parametrize("name", losses.names())
def test_blocks_are_one(framework: Framework, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = losses.get(name)
    monkeypatch.setattr(plan, "KEPT_BYTES", KEPT_OF_ONE * loss.num_centers)
    made = make(framework, loss, CLASSES, "float64", 3).plan(BATCH, itemsize=8)
    assert (made.blocks, made.kept, made.kept_blocks) == (3, 3, 1)
    check(framework, name, 3)


@pytest.mark.parametrize("name", ["arcface", "subcenter_arcface", "sphereface", "uniface"])
@pytest.mark.parametrize("kept", [0, 2**20])
def test_what_is_kept_changes_nothing(
    framework: Framework, name: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "KEPT_BYTES", kept)
    for block in (2, None):
        check(framework, name, block)


def test_nothing_is_made_that_is_not_needed(torch: Framework) -> None:
    """Without gradients the plan keeps no logits for them; frozen weights get none."""
    library = torch.torch
    head = torch.backend.MarginHead("arcface", 8, CLASSES, block=3)
    assert head.plan(4).in_gradient
    with library.no_grad():
        assert not head.plan(4).in_gradient
    head.weight.requires_grad_(False)
    assert not head.plan(4).in_gradient
    x = library.randn(4, 8, requires_grad=True)
    head(x, library.tensor(LABELS[:4])).backward()
    assert head.weight.grad is None
    assert x.grad.abs().sum() > 0


def test_float32(framework: Framework) -> None:
    check(framework, "li_arcface", 3, "float32")


@given(
    name=st.sampled_from(losses.names()),
    block=st.integers(1, CLASSES + 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_block_size(torch: Framework, name: str, block: int, seed: int) -> None:
    check(torch, name, block, seed=seed)


def test_an_error_in_one_block_is_caught(framework: Framework) -> None:
    loss, rng = losses.get("arcface"), np.random.default_rng(0)
    x, w = rng.normal(size=(BATCH, SIZE)), rng.normal(size=(CLASSES, SIZE))
    found = framework.evaluate(make(framework, loss, CLASSES, "float64", 3), x, w, LABELS)
    w[4] *= 1 + 1e-6
    with pytest.raises(AssertionError):
        assert_same_evaluation(found, loss.evaluate(x, w, LABELS), RTOL["float64"])


def test_extremes_meet_in_different_blocks(framework: Framework) -> None:
    """Logits of +-256 in one block and the next; a zero embedding; a zero class weight."""
    loss = losses.get("cosface", scale=256)
    w = np.array([[1.0, 0, 0, 0, 0], [-1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    x = np.array([[3.0, 0, 0, 0, 0], [-2, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    labels = np.array([1, 1, 3])
    for block in (1, None):
        head = make(framework, loss, 4, "float64", block)
        found = framework.evaluate(head, x, w, labels)
        assert_same_evaluation(found, loss.evaluate(x, w, labels), RTOL["float64"])


@pytest.mark.parametrize("batch", [0, 2.5])
def test_no_plan_for_such_a_batch(framework: Framework, batch: Any) -> None:
    head = make(framework, "arcface", CLASSES, "float32", None)
    with pytest.raises(MarginfaceError, match="batch must be at least 1, a whole number, got"):
        head.plan(batch)


@pytest.mark.parametrize("block", [0, -1, 2.5, "8"])
def test_bad_blocks(framework: Framework, block: Any) -> None:
    with pytest.raises(MarginfaceError, match="block must be at least 1, a whole number, got"):
        make(framework, "arcface", CLASSES, "float32", block)


def test_the_plan_says_what_it_does() -> None:
    small = plan_head(128, 1000, itemsize=4, block_logits=2**18)
    assert (small.blocks, small.kept) == (1, 1000)
    assert "in one block, all logits kept" in str(small)
    large = plan_head(128, 10_000_000, itemsize=4, block_logits=2**18)
    assert large.extra_bytes < 80 * 2**20
    assert large.kept % large.block == 0
    assert "computed twice" in str(large)
    assert "10000000 classes for 128 embeddings in 4883 blocks of 2048" in str(large)
    waiting = plan_head(128, 1_000_000, itemsize=4, block_logits=2**18, gradient_room=512)
    assert (waiting.kept, waiting.in_gradient) == (1_000_000, True)
    assert "all logits kept in the gradient's memory; 5 MiB beside" in str(waiting)
    assert not plan_head(513, 2, itemsize=4, block_logits=2**18, gradient_room=512).in_gradient
    none = plan_head(2**16, 10_000, itemsize=4, block_logits=2**18, block=1000)
    assert none.kept == 0
    assert ", logits computed twice;" in str(none)


def test_the_plan_says_what_else_a_loss_takes(framework: Framework) -> None:
    def plan_of(loss: str) -> HeadPlan:
        return framework.head(loss, 512, 9000).plan(64)

    usual, ahead, both = map(plan_of, ("cosface", "adacos", "uss"))
    assert ", a pass ahead of it;" in str(ahead)
    assert ahead.extra_bytes == usual.extra_bytes
    assert ", a pass over latest vectors after it;" in str(both)
    assert both.extra_bytes == usual.extra_bytes + 64 * 9000 * 4  # its logits are kept, too
    assert both.class_state == 9000 * (512 * 4 + 8)
    assert " beside weights and gradient, 18 MiB of class state (" in str(both)
    wide = framework.head("uss", 512, 9000, "float64")
    assert wide.plan(64).class_state == 9000 * (512 * 8 + 8)  # whatever the logits are


@given(
    batch=st.integers(1, 4096),
    classes=st.integers(1, 10**7),
    logits=st.sampled_from([2**10, 2**18, 2**24]),
)
@settings(deadline=None)
def test_plans_cover_all_classes_within_their_budget(batch: int, classes: int, logits: int) -> None:
    made = plan_head(batch, classes, itemsize=4, block_logits=logits)
    assert (made.blocks - 1) * made.block < classes <= made.blocks * made.block
    assert batch * made.kept * 4 <= plan.KEPT_BYTES
    assert made.block <= max(2 * logits // batch, 2)
