"""What a loss keeps for each class: when it is written, read, saved and refused."""

from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays, assert_same_evaluation
from frameworks import Framework
from row_steps import start_state

from marginface import SGD, MarginfaceError, losses
from marginface.heads import class_state

SIZE, CLASSES, BATCH = 5, 7, 8
KEEPING = ("vpl", "uss")
EACH = pytest.mark.parametrize("name", KEEPING)


def made(framework: Framework, loss: Any, **options: Any) -> Any:
    kind = framework.torch.float64 if framework.name == "torch" else "float64"
    return framework.backend.MarginHead(loss, SIZE, CLASSES, dtype=kind, **options)


def batch(seed: int, number: int = BATCH) -> tuple[Any, Any, Any]:
    """Return embeddings, class weights and labels, some of which come twice."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, number)
    return rng.normal(size=(number, SIZE)) * 3, rng.normal(size=(CLASSES, SIZE)), labels


def call(framework: Framework, head: Any, x: Any, labels: Any, *, training: bool) -> float:
    if framework.name == "tf":
        return float(head(x, labels, training=training))
    value = framework.call(head.train(training), x, labels)
    head.train()
    return value


def carried(framework: Framework, head: Any) -> dict[str, Any]:
    return {name: np.array(framework.array(value)) for name, value in head.carried().items()}


@EACH
def test_three_steps_are_the_reference_s(framework: Framework, name: str) -> None:
    loss, state = losses.get(name), start_state(losses.get(name), CLASSES, SIZE)
    head = made(framework, loss)
    framework.carry(head, state)
    for step in range(3):
        x, w, labels = batch(step)
        bias = loss.initial_bias(CLASSES)
        wanted = loss.evaluate(x, w, labels, state=state)
        if framework.name == "torch":
            head.zero_grad()
        found = framework.evaluate(head, x, w, labels, bias=bias)
        assert_same_evaluation(found, wanted, RTOL["float64"])
        state = wanted.state


@EACH
@pytest.mark.parametrize("spoilt", [np.inf, 1e200])  # the second has a norm that overflows
def test_what_is_no_number_is_not_remembered(
    framework: Framework, name: str, spoilt: float
) -> None:
    head, (x, _, labels) = made(framework, name), batch(0)
    labels[:] = labels[-1]  # the last of them would count
    x[-1] = spoilt
    call(framework, head, x, labels, training=True)
    rows = carried(framework, head)["latest"]
    np.testing.assert_allclose(rows[labels[-1]], x[-2] / np.linalg.norm(x[-2]), rtol=1e-12)
    assert np.isfinite(rows).all()
    assert np.isfinite(call(framework, head, *batch(1)[::2], training=True))


@EACH
def test_evaluation_reads_and_writes_nothing(framework: Framework, name: str) -> None:
    loss, (x, w, labels) = losses.get(name), batch(0)
    head, state = made(framework, loss), start_state(loss, CLASSES, SIZE)
    framework.evaluate(head, x, w, labels, bias=loss.initial_bias(CLASSES), state=state)
    after = carried(framework, head)
    assert_same_arrays(after, loss.evaluate(x, w, labels, state=state).state, RTOL["float64"])
    found = call(framework, head, x, labels, training=False)
    assert found == pytest.approx(loss.evaluate(x, w, labels, state=after).loss, rel=1e-9)
    assert_same_arrays(carried(framework, head), after, 0)


@EACH
def test_what_a_step_left_is_saved_and_goes_with_other_arrays(
    framework: Framework, name: str
) -> None:
    loss, (x, w, labels) = losses.get(name), batch(0)
    head, state = made(framework, loss), start_state(loss, CLASSES, SIZE)
    framework.evaluate(head, x, w, labels, bias=loss.initial_bias(CLASSES), state=state)
    saved = head.arrays()
    wanted = loss.evaluate(x, w, labels, state=state).state
    for key in ("latest", "seen"):
        np.testing.assert_allclose(saved[f"class_state.{key}"], wanted[key], rtol=1e-12)
    call(framework, head, *batch(1)[::2], training=True)
    head.load_arrays(saved)
    assert_same_arrays(head.arrays(), saved, 0)
    call(framework, head, *batch(1)[::2], training=True)
    other = made(framework, loss)
    other.load_arrays(saved)
    call(framework, other, *batch(1)[::2], training=True)
    assert_same_arrays(other.arrays(), head.arrays(), 0)


@pytest.mark.parametrize("name", ["vpl"])
def test_calls_to_one_step_leave_together(framework: Framework, name: str) -> None:
    loss, (x, w, labels) = losses.get(name), batch(0)
    head, state = made(framework, loss, accumulation=2), start_state(loss, CLASSES, SIZE)
    wanted = loss.evaluate(x, w, labels, state=state).state
    framework.evaluate(head, x[:4], w, labels[:4], state=state)
    assert_same_arrays(carried(framework, head), state, 0)
    framework.evaluate(head, x[4:], w, labels[4:])
    assert_same_arrays(carried(framework, head), wanted, RTOL["float64"])


@pytest.mark.parametrize("way", ["arrays", "framework"])
@pytest.mark.parametrize("name", ["vpl", "adaface"])
def test_an_optimizer_step_begins_anew_with_what_is_loaded(
    framework: Framework, name: str, way: str
) -> None:
    """Though a call to another one was made, of which the head then knows nothing more."""
    heads = [made(framework, name, accumulation=2) for _ in range(2)]
    saved, ours = heads[0].arrays(), framework.name == "torch"
    state = heads[0].state_dict() if ours else dict(enumerate(heads[0].get_weights()))
    state = {str(key): value + 0 for key, value in state.items()}
    call(framework, heads[0], *batch(0)[::2], training=True)
    for head in heads:
        if way == "arrays":
            head.load_arrays(saved)
        else:
            (head.load_state_dict if ours else head.load_own_variables)(state)
    for number in (1, 2):
        for head in heads:
            call(framework, head, *batch(number)[::2], training=True)
        assert_same_arrays(heads[0].arrays(), heads[1].arrays(), 0)
    assert any((value != saved[key]).any() for key, value in heads[0].arrays().items())


@pytest.mark.parametrize("accumulation", [1, 2])
def test_what_waits_stays_where_other_arrays_are_loaded(
    framework: Framework, accumulation: int
) -> None:
    heads = [made(framework, "vpl", accumulation=accumulation) for _ in range(2)]
    heads[1].load_arrays(heads[0].arrays())
    for head in heads:
        call(framework, head, *batch(0)[::2], training=True)
    if framework.name == "torch":
        heads[0].load_state_dict({"weight": heads[0].weight.data}, strict=False)
    else:
        with pytest.raises(ValueError, match="expected"):  # Keras may go on without
            heads[0].load_own_variables({})
    for head in heads:
        call(framework, head, *batch(1)[::2], training=True)
    assert_same_arrays(heads[0].arrays(), heads[1].arrays(), 0)
    assert heads[0].arrays()["class_state.seen"].any()


def test_before_it_starts_vpl_is_arcface_to_the_bit(framework: Framework) -> None:
    x, w, labels = batch(0)
    found = [
        framework.evaluate(made(framework, losses.get(name)), x, w, labels)
        for name in ("vpl", "arcface")
    ]
    assert found[0].loss == found[1].loss
    assert_same_arrays(found[0].gradients, found[1].gradients, 0)


@pytest.mark.parametrize("name", ["uss"])
def test_a_class_that_was_not_seen_has_no_pairs(framework: Framework, name: str) -> None:
    loss, (x, w, labels) = losses.get(name), batch(0)
    plain = losses.get("cosface").evaluate(x, w, labels)
    head = made(framework, loss)
    found = framework.evaluate(head, x, w, labels, bias=loss.initial_bias(CLASSES))
    assert found.loss == pytest.approx(plain.loss, rel=1e-9)
    assert not found.gradients["bias"].any()


@pytest.mark.parametrize("between", ["call", "evaluate", "logits", "arrays", "load"])
@pytest.mark.parametrize(("name", "update"), [("vpl", None), ("vpl", SGD()), ("uss", None)])
def test_going_back_after_rows_moved(
    framework: Framework, name: str, update: Any, between: str
) -> None:
    """It is refused, or goes back from the rows as they were; with what is stepped, untouched."""
    loss, (x, w, labels) = losses.get(name), batch(0)
    state, bias = start_state(loss, CLASSES, SIZE), loss.initial_bias(CLASSES)
    head, b = made(framework, loss, update=update), {} if bias is None else {"bias": bias}
    head.rate = 0.1
    head.load_arrays(head.arrays() | {"weight": w} | b)
    framework.carry(head, state)
    if framework.name == "torch":
        given = framework.torch.tensor(x, requires_grad=True)
        loss_value = head(given, framework.torch.tensor(labels))
    else:
        given = framework.tf.Variable(x)
        with framework.tf.GradientTape() as tape:
            loss_value = head(framework.tf.convert_to_tensor(given), labels)
    weight = framework.array(head.weight).copy()
    match between:
        case "call" | "evaluate":
            call(framework, head, *batch(1)[::2], training=between == "call")
        case "logits":
            pair = (
                (x, labels) if framework.name == "tf" else (given, framework.torch.tensor(labels))
            )
            head.logits(*pair)
        case "arrays":
            head.arrays()
        case "load":
            head.load_arrays(head.arrays())
    if framework.name == "torch" or update is not None:
        with pytest.raises(MarginfaceError, match="a later call or logits, saving or loading mov"):
            loss_value.backward() if framework.name == "torch" else tape.gradient(loss_value, given)
        np.testing.assert_array_equal(framework.array(head.weight), weight)
    else:
        wanted = loss.evaluate(x, w, labels, bias=bias, state=state).gradients["embeddings"]
        found = tape.gradient(loss_value, given).numpy()
        np.testing.assert_allclose(found, wanted, rtol=RTOL["float64"])


@EACH
def test_in_inference_mode(torch: Framework, name: str) -> None:
    """Where tensors count no versions: a head made there, and one made outside."""
    (x, _, labels), outside = batch(0), made(torch, name)
    with torch.torch.inference_mode():
        inside = made(torch, name)
        inside.load_arrays(outside.arrays())
        found = [call(torch, head, x, labels, training=True) for head in (inside, outside)]
    assert_same_arrays(inside.arrays(), outside.arrays(), 0)
    for head in (inside.eval(), outside.eval()):
        with torch.torch.no_grad():
            found.append(torch.call(head, x, labels))
    assert found[0] == found[1]
    assert found[2] == found[3]


@EACH
@pytest.mark.parametrize("kind", ["half", "float"])
def test_what_waits_is_converted_with_the_head(torch: Framework, name: str, kind: str) -> None:
    heads = [made(torch, name) for _ in range(2)]
    heads[1].load_arrays(heads[0].arrays())
    for head in heads:
        call(torch, head, *batch(0)[::2], training=True)
    heads[0].arrays()  # is written before
    for head in heads:
        getattr(head, kind)()
    assert_same_arrays(heads[1].arrays(), heads[0].arrays(), 0)
    call(torch, heads[0], *batch(0)[::2], training=True)
    heads[0].to("meta")  # as to any device
    (left,) = heads[0].class_state._waiting
    assert all(each.is_meta for each in (left.classes, *left.samples, *left.state.values()))


def test_in_a_graph_of_tf_it_is_an_error(tf: Framework) -> None:
    code, head, (x, _, labels) = tf.tf, made(tf, "vpl", update=SGD()), batch(0)
    head.rate, given = 0.1, code.Variable(x)

    @code.function
    def step(twice: bool) -> Any:
        with code.GradientTape() as tape:
            value = head(code.convert_to_tensor(given), labels)
        if twice:
            head(given * 2.0, labels)
        return tape.gradient(value, given)

    assert np.isfinite(step(False)).all()
    with pytest.raises(code.errors.InvalidArgumentError, match="go back first"):
        step(True)


@pytest.mark.parametrize("update", [None, SGD()])
def test_logits_are_those_of_the_loss(framework: Framework, update: Any) -> None:
    loss, (x, w, labels) = losses.get("vpl"), batch(0)
    state = start_state(loss, CLASSES, SIZE)
    head = made(framework, loss, update=update)
    head.load_arrays(head.arrays() | {"weight": w})
    framework.carry(head, state)
    given = x, labels
    if framework.name == "torch":
        given = tuple(map(framework.torch.tensor, given))
        head.eval()
    logits = framework.array(head.logits(*given))
    shifted = logits - logits.max(1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    mean = -np.log(probabilities[np.arange(BATCH), labels]).mean()
    assert mean == pytest.approx(loss.evaluate(x, w, labels, state=state).loss, rel=1e-9)


@pytest.mark.parametrize("name", ["adaptiveface"])
def test_margins_are_put_back_into_their_range(framework: Framework, name: str) -> None:
    loss, (x, w, labels) = losses.get(name), batch(0)
    head, margins = made(framework, loss), np.linspace(-0.5, 1.5, CLASSES)
    found = framework.evaluate(head, x, w, labels, bias=margins)
    assert_same_evaluation(found, loss.evaluate(x, w, labels, bias=margins), RTOL["float64"])
    assert_same_arrays({"bias": head.arrays()["bias"]}, {"bias": margins.clip(0, 1)}, 0)


def test_a_memory_larger_than_the_machine_is_told_before_it_is_made(
    framework: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_state, "machine_memory", lambda: 3 * 2**30)
    said = (
        r"uss keeps 3\.8 GiB for 2000000 classes, beside their weights, and this machine has 3\.0 "
    )
    with pytest.raises(MarginfaceError, match=said):
        framework.head("uss", 512, 2_000_000)


def test_zeros_are_made_as_such(tf: Framework, monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant takes four times the memory of a million classes."""
    import keras

    sizes: list[int] = []
    constant = keras.initializers.Constant
    monkeypatch.setattr(
        keras.initializers, "Constant", lambda v: sizes.append(v.size) or constant(v)
    )
    head = made(tf, "uss")
    assert not head.arrays()["class_state.latest"].any()
    assert sizes == [1]  # the bias


def test_arrays_of_a_loss_without_rows_are_refused(framework: Framework) -> None:
    arrays = made(framework, "arcface").arrays()
    with pytest.raises(MarginfaceError, match=r"this head's (state.step|class_state.latest) has"):
        made(framework, "vpl").load_arrays(arrays)


@pytest.mark.parametrize("name", [*KEEPING, "adaptiveface"])
def test_a_sample_s_weights_count_a_class_so_often(framework: Framework, name: str) -> None:
    """In the companion's sum and in the mean margin, too: the spec has the class so often."""
    loss, (x, w, _) = losses.get(name), batch(0)
    labels, times = np.arange(BATCH) % 3, np.array([1, 1, 1, 2, 3, 1, 2])
    state, bias = start_state(loss, CLASSES, SIZE), loss.initial_bias(CLASSES)
    bias = None if bias is None else bias + np.linspace(-0.1, 0.1, len(bias))
    head = made(framework, loss, update=SGD(), sample_rate=0.5, sampling="corrected")
    arrays = head.arrays() | {"weight": w} | ({} if bias is None else {"bias": bias})
    head.load_arrays(arrays)
    framework.carry(head, state)
    draw = {"classes": np.arange(CLASSES), "log_weights": np.log(times)}
    found = framework.call(head, x, labels, draw)
    often = np.repeat(np.arange(CLASSES), times)  # the labels' come once, and first
    of_classes = {k: v[often] if np.ndim(v) else v for k, v in state.items()}
    own = bias[often] if bias is not None and len(bias) > 1 else bias
    wanted = loss.evaluate(x, w[often], labels, bias=own, state=of_classes)
    assert found == pytest.approx(wanted.loss, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "step", "seen", "counts"),
    [
        ("vpl", 5, 3, True),  # the sixth step, three after the class was seen
        ("vpl", 5, 2, False),
        ("vpl", 4, 3, False),
        ("vpl", 5, 0, False),
        ("uss", 5, 1, True),
        ("uss", 4, 1, False),
        ("uss", 5, 0, False),
    ],
)
def test_when_rows_count(
    framework: Framework, name: str, step: int, seen: int, counts: bool
) -> None:
    window = {"window": 6 if seen == 0 else 3} if name == "vpl" else {}
    loss, (x, w, labels) = losses.get(name, start_step=5, **window), batch(0)
    state = start_state(loss, CLASSES, SIZE)
    state |= {"step": np.array(step), "seen": np.full(CLASSES, seen)}
    state["latest"] = np.roll(w, 1, 0) / np.linalg.norm(np.roll(w, 1, 0), axis=1, keepdims=True)
    wanted = loss.evaluate(x, w, labels, state=state)
    bias = loss.initial_bias(CLASSES)
    found = framework.evaluate(made(framework, loss), x, w, labels, bias=bias, state=state)
    assert_same_evaluation(found, wanted, RTOL["float64"])
    plain = losses.get("arcface" if name == "vpl" else "cosface").evaluate(x, w, labels)
    assert (abs(found.loss - plain.loss) > 1e-6) == counts
