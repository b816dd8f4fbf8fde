"""A head that steps itself where embeddings need no gradient: stored, of a frozen backbone."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays
from frameworks import Framework
from row_steps import saved_names, start_state
from test_head_sampling import BATCH, CLASSES, RATE, SIZE, batches, make, reference, start

from marginface import losses

GRAPHS = ("eager", "graph", "compiled", "forward alone", "nested", "any batch")
EMBEDDINGS: dict[str, dict[str, Callable[[Any, Any], Any]]] = {
    "torch": {
        "stored": lambda torch, x: torch.tensor(x),
        "detached": lambda torch, x: (torch.tensor(x, requires_grad=True) * 1).detach(),
        "without gradient": lambda torch, x: torch.no_grad()(torch.tensor)(x) * 1,
        "inference": lambda torch, x: torch.inference_mode()(torch.tensor)(x),
    },
    "tf": {
        "stored": lambda _, x: x,
        "constant": lambda tf, x: tf.constant(x),
        "stopped": lambda tf, x: tf.stop_gradient(tf.Variable(x) * 1),
    },
}
WAYS = [(name, way) for name, ways in EMBEDDINGS.items() for way in ways]


def step(framework: Framework, head: Any, embed: Any, batch: Any, other: Any = None) -> None:
    """Go back once from a head's loss, with that of something else if there is."""
    x, labels, draw = batch
    if framework.name == "torch":
        torch = framework.torch
        draws = {name: torch.tensor(value) for name, value in draw.items()}
        loss = head(embed(torch, x), torch.tensor(labels), draws)
        (loss if other is None else loss + other**2).backward()
        return
    code = framework.tf
    with code.GradientTape() as tape:
        loss = head(embed(code, x), labels, draw)
        loss = loss if other is None else loss + other**2
    tape.gradient(loss, [] if other is None else other)


def check(framework: Framework, loss: Any, way: str = "stored", **options: Any) -> None:
    """Hold some steps to the reference's."""
    w, bias = start(loss)
    steps = batches(loss, options.get("sample_rate", 1.0))
    head = make(framework, loss, **options)
    arrays = {"weight": w} | ({} if bias is None else {"bias": bias})
    state = saved_names(loss, start_state(loss, CLASSES, SIZE))
    head.load_arrays(
        arrays | {f"momentum.{k}": np.zeros_like(v) for k, v in arrays.items()} | state
    )
    head.rate = RATE
    for batch in steps:
        step(framework, head, EMBEDDINGS[framework.name][way], batch)
    wanted, _ = reference(loss, w, bias, steps)
    assert np.abs(wanted["weight"] - w).max() > 1e-3
    assert_same_arrays(head.arrays(), wanted, RTOL["float64"])


@pytest.mark.parametrize("name", losses.names())
def test_it_steps_as_the_optimizer_does(framework: Framework, name: str) -> None:
    check(framework, losses.get(name))


@pytest.mark.parametrize(("framework", "way"), WAYS, indirect=["framework"])
@pytest.mark.parametrize("name", ["arcface", "softmax"])  # whose embeddings are not normalised
def test_wherever_the_embeddings_come_from(framework: Framework, name: str, way: str) -> None:
    check(framework, losses.get(name), way, sample_rate=0.7, block=3)


@pytest.mark.parametrize("gradient", ["exact", "straight_through"])
def test_gradient_modes(framework: Framework, gradient: str) -> None:
    check(framework, losses.get("arcface", gradient=gradient), block=4)


def test_it_is_the_step_of_embeddings_that_learn(framework: Framework) -> None:
    """Bit for bit, in half precision too, and beside another loss."""
    learning: dict[str, Any] = {
        "torch": lambda torch, x: torch.tensor(x, requires_grad=True),
        "tf": lambda tf, x: tf.convert_to_tensor(tf.Variable(x)),
    }
    (x, labels, draw), *_ = batches(losses.get("arcface"))
    given = x.astype(np.float32), labels, draw
    for options in ({}, {"precision": "float16", "block": 4}, {"dtype": "bfloat16"}):
        found = []
        for embed in (learning[framework.name], EMBEDDINGS[framework.name]["stored"]):
            framework.seed(0)
            head = make(framework, "arcface", **{"dtype": "float32", **options})
            head.load_weight(start(head.loss)[0].astype(np.float32))
            head.rate = RATE
            one = framework.torch.ones((), requires_grad=True) if framework.name == "torch" else 0.0
            step(framework, head, embed, given, one if framework.name == "torch" else None)
            found.append(head.arrays())
        assert_same_arrays(found[0], found[1], 0)
        assert np.abs(found[0]["momentum.weight"].astype(np.float32)).max() > 0


def test_another_loss_is_enough_to_go_back(framework: Framework) -> None:
    code = framework.torch if framework.name == "torch" else framework.tf
    other = code.ones(()).requires_grad_() if framework.name == "torch" else code.Variable(1.0)
    head, (batch, *_) = make(framework, "arcface", "float32"), batches(losses.get("arcface"))
    head.rate = RATE
    before = head.arrays()["weight"].copy()
    given = batch[0].astype(np.float32), *batch[1:]
    step(framework, head, EMBEDDINGS[framework.name]["stored"], given, other)
    assert np.abs(head.arrays()["weight"] - before).max() > 0


@pytest.mark.parametrize("block", [None, 4])
@pytest.mark.parametrize("mode", GRAPHS)
def test_in_graphs_of_tf(tf: Framework, mode: str, block: int | None) -> None:
    code, loss = tf.tf, losses.get("sphereface2")
    w, bias = start(loss)
    steps = batches(loss)
    head = make(tf, loss, block=block)
    head.weight.assign(w)
    head.bias.assign(bias)
    head.rate = RATE
    call: Any = lambda x, y: head(code.stop_gradient(x), y)  # noqa: E731 - or a graph of it
    if mode in ("forward alone", "nested"):
        call = code.function(call)

    def back(x: Any, y: Any) -> Any:
        with code.GradientTape() as tape:
            value = call(x, y)
        return tape.gradient(value, head.trainable_variables)

    graph: Any = back
    if mode == "any batch":
        kinds = code.TensorSpec([None, SIZE], code.float64), code.TensorSpec([None], code.int64)
        graph = code.function(back, input_signature=kinds)
    elif mode not in ("eager", "forward alone"):
        graph = code.function(back, jit_compile=mode == "compiled")
    for x, labels, _ in steps:
        graph(code.constant(x), code.constant(labels))
    found = {k: v for k, v in head.arrays().items() if not k.startswith("state.")}
    assert_same_arrays(found, reference(loss, w, bias, steps)[0], RTOL["float64"])


def test_a_compiled_torch_loop_steps(torch: Framework) -> None:
    loss = losses.get("cosface")
    (w, bias), steps = start(loss), batches(loss)
    head = make(torch, loss)
    head.load_weight(w)
    head.rate = RATE
    compiled = torch.torch.compile(head, backend="eager")
    for batch in steps:
        step(torch, compiled, EMBEDDINGS["torch"]["stored"], batch)
    assert_same_arrays(head.arrays(), reference(loss, w, bias, steps)[0], RTOL["float64"])


def test_nothing_steps_without_a_way_back(framework: Framework) -> None:
    """Evaluation; no_grad and inference_mode; a forward pass outside of a tape; a frozen layer."""
    head = make(framework, "arcface")
    head.rate = RATE
    before = head.arrays()["weight"].copy()
    (x, labels, _), *_ = batches(head.loss)
    if framework.name == "torch":
        torch = framework.torch
        given = torch.tensor(x), torch.tensor(labels)
        for quiet in (torch.no_grad, torch.inference_mode):
            with quiet():
                assert not head(*given).requires_grad
        assert not head.eval()(*given).requires_grad
    else:
        code = framework.tf
        head(x, labels)
        with code.GradientTape() as tape:
            value = head(x, labels, training=False)
        assert tape.gradient(value, head.trainable_variables) == [None]
        head.trainable = False
        with code.GradientTape() as tape:
            given = code.constant(x)
            tape.watch(given)
            value = head(given, labels)
        assert np.abs(tape.gradient(value, given)).max() > 0
    np.testing.assert_array_equal(head.arrays()["weight"], before)


def test_it_goes_back_once_here_too(framework: Framework) -> None:
    head = make(framework, "arcface")
    head.rate = RATE
    (x, labels, _), *_ = batches(head.loss)
    if framework.name == "torch":
        loss = head(framework.torch.tensor(x), framework.torch.tensor(labels))
        back = partial(loss.backward, retain_graph=True)
    else:
        with framework.tf.GradientTape(persistent=True) as tape:
            loss = head(x, labels)
        back = partial(tape.gradient, loss, [])
    back()
    with pytest.raises(ValueError, match="go back once"):
        back()


def test_without_update_a_frozen_backbone_leaves_ordinary_gradients(framework: Framework) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(BATCH, SIZE)), rng.integers(0, CLASSES, BATCH)
    for name in ("arcface", "softmax"):
        head = framework.head(name, SIZE, CLASSES, "float64")
        w, bias = start(head.loss)
        arrays = {"weight": w} | ({} if bias is None else {"bias": bias})
        head.load_arrays(arrays)
        wanted = head.loss.evaluate(x, w, labels, bias=bias).gradients
        for way in EMBEDDINGS[framework.name].values():
            if framework.name == "torch":
                head.zero_grad()
                head(way(framework.torch, x), framework.torch.tensor(labels)).backward()
                found = {k: framework.array(p.grad) for k, p in head.named_parameters()}
            else:
                with framework.tf.GradientTape() as tape:
                    value = head(way(framework.tf, x), labels)
                own = {v.name: v.value for v in head.trainable_variables}
                found = {k: g.numpy() for k, g in tape.gradient(value, own).items()}
            assert_same_arrays(found, {k: wanted[k] for k in arrays}, RTOL["float64"])


def test_in_torch_a_head_unfrozen_with_its_model_gets_no_gradient(torch: Framework) -> None:
    """An optimizer that was given all of a model would step it a second time."""
    head = make(torch, "arcface")
    head.rate = RATE
    model = torch.torch.nn.ModuleList([torch.torch.nn.Linear(SIZE, SIZE), head])
    model.requires_grad_(True)
    x, labels, draw = batches(head.loss)[0]  # so few have room for logits in a gradient, if any
    step(torch, head, EMBEDDINGS["torch"]["stored"], (x[: SIZE - 1], labels[: SIZE - 1], draw))
    assert head.weight.grad is None
    assert np.abs(head.arrays()["momentum.weight"]).max() > 0
