"""State and margins where a batch lies in several processes, or in several calls."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import data_parallel
import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays, assert_same_evaluation
from frameworks import Framework
from processes import run_all
from row_steps import start_state

from marginface import losses
from marginface.losses import Evaluation

SIZE, CLASSES, BATCH, STEPS = 6, 5, 8, 3
NAMES = ("adacos", "adaface", "curricularface", "elasticface_arc_plus", "sphereface", "vpl")


def problem(name: str) -> dict[str, Any]:
    """Return three steps of whole batches, in float64; the two halves differ in their norms."""
    rng, loss = np.random.default_rng(0), losses.get(name)
    shape = (STEPS, BATCH, SIZE)
    growing = np.linspace(2, 40, BATCH)[:, None]
    draws = [loss.draw(rng, BATCH) for _ in range(STEPS)]
    return {
        "x": rng.normal(size=shape) * growing,
        "w": rng.normal(size=(CLASSES, SIZE)),
        "labels": rng.integers(0, CLASSES, shape[:2]),
        **{key: np.stack([draw[key] for draw in draws]) for key in loss.draws},
    }


def run_both(framework: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Run two replicas on every loss; return by loss the arrays of each, by step and name."""
    for name in NAMES:
        np.savez(folder / f"{name}.npz", **problem(name))
    command = [data_parallel.__file__, framework, folder, *NAMES]
    run_all(command, 2 if framework == "torch" else 1)  # tf has both in one process
    return {
        name: [dict(np.load(folder / f"{name}.out.{rank}.npz")) for rank in range(2)]
        for name in NAMES
    }


def assert_as_one(found: list[dict[str, Any]], name: str) -> None:
    """Both replicas prepare, move and, averaged, learn as the spec does on the whole batch."""
    loss, data = losses.get(name), problem(name)
    state: Any = start_state(loss, CLASSES, SIZE)
    for step in range(STEPS):
        x, labels, w = data["x"][step], data["labels"][step], data["w"]
        draw = {key: data[key][step] for key in loss.draws}
        wanted = loss.evaluate(x, w, labels, state=state, draw=draw)
        got = [_of(f"{step}.", each) for each in found]
        for each in got:
            assert_same_arrays(_of("state.", each), wanted.state, RTOL["float64"])
        prepared, _ = loss.prepare(*_cosines_and_norms(x, w, labels), state, draw)
        together = [_of("prepared.", each) for each in got]
        joined = {key: _joined([each[key] for each in together]) for key in together[0]}
        assert_same_arrays(joined, prepared, RTOL["float64"])
        # A replica's loss is the mean of its half: of two such means the mean is the whole's.
        gradients = {
            "embeddings": _joined([each["x"] for each in got]) / 2,
            "weight": sum(each["w"] for each in got) / 2,
        }
        mean = sum(float(each["loss"]) for each in got) / 2
        assert_same_evaluation(Evaluation(mean, gradients, wanted.state), wanted, RTOL["float64"])
        state = wanted.state


def _joined(halves: list[Any]) -> Any:
    """Return the batch of which each replica had every second sample."""
    return np.stack(halves, 1).reshape(-1, *halves[0].shape[1:])


def _of(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays whose names begin so, without the beginning."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _cosines_and_norms(x: Any, w: Any, labels: Any) -> tuple[Any, Any]:
    norms = np.linalg.norm(x, axis=1)
    own = w[labels]
    return (x * own).sum(1) / norms / np.linalg.norm(own, axis=1), norms


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that runs both replicas of a framework, once for all losses."""

    @cache
    def run(framework: str) -> dict[str, list[dict[str, Any]]]:
        return run_both(framework, tmp_path_factory.mktemp(framework))

    return run


@pytest.mark.parametrize("name", NAMES)
def test_two_replicas_are_one(framework: Framework, name: str, runs: Any) -> None:
    assert_as_one(runs(framework.name)[name], name)


@pytest.mark.parametrize("change", ["state", "prepared", "x", "w", "loss"])
def test_another_result_is_caught(framework: Framework, change: str, runs: Any) -> None:
    found = [dict(each) for each in runs(framework.name)["adaface"]]
    key = next(key for key in found[1] if key.startswith(f"{STEPS - 1}.{change}"))
    found[1][key] = found[1][key] * (1 + 1e-6)
    with pytest.raises(AssertionError):
        assert_as_one(found, "adaface")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sphereface"])
def test_replicas_that_know_only_their_half_are_caught(name: str) -> None:
    """What heads that gathered nothing would find, from the spec on each half."""
    loss, data = losses.get(name), problem(name)
    found: list[dict[str, Any]] = [{}, {}]
    states: list[Any] = [start_state(loss, CLASSES, SIZE) for _ in range(2)]
    for step in range(STEPS):
        for replica, own in enumerate(data_parallel.parts(data, step)):
            x, labels, draw = own["x"], own["labels"], {key: own[key] for key in loss.draws}
            state, w = states[replica], data["w"]
            each = loss.evaluate(x, w, labels, state=state, draw=draw)
            prepared, _ = loss.prepare(*_cosines_and_norms(x, w, labels), state, draw)
            values = {"loss": each.loss, "x": each.gradients["embeddings"]}
            values |= {"w": each.gradients["weight"]}
            values |= {f"prepared.{key}": value for key, value in prepared.items()}
            values |= {f"state.{key}": value for key, value in each.state.items()}
            found[replica] |= {f"{step}.{key}": value for key, value in values.items()}
            states[replica] = each.state
    with pytest.raises(AssertionError):
        assert_as_one(found, name)


def accumulated(framework: Framework, name: str, dtype: str) -> tuple[list[Any], list[Any]]:
    """Return the state after each of six calls, three to a step, and the spec's."""
    loss, rng = losses.get(name), np.random.default_rng(0)
    options = {"dtype": getattr(framework.torch, dtype) if framework.name == "torch" else dtype}
    head = framework.backend.MarginHead(loss, SIZE, CLASSES, accumulation=3, **options)
    w = rng.normal(size=(CLASSES, SIZE)).astype(dtype)
    state, nexts, found, wanted = loss.initial_state(CLASSES), [], [], []
    for call in range(6):
        x = (rng.normal(size=(4, SIZE)) * (call + 1)).astype(dtype)
        labels, draw = rng.integers(0, CLASSES, 4), loss.draw(rng, 4)
        nexts.append(loss.evaluate(x, w, labels, state=state, draw=draw).state)
        if len(nexts) == 3:
            state = {key: np.mean([each[key] for each in nexts]) for key in state}
            nexts = []
        found.append(framework.evaluate(head, x, w, labels, draw=draw).state)
        wanted.append(state)
        if framework.name == "torch":  # evaluation between two calls is none of them
            framework.call(head.eval(), x * 7, labels, draw)
            head.train()
        else:
            head(x * 7, labels, draw, training=False)
    return found, wanted


# The mean over calls of equal size is exact for running means (AdaFace's of the norms,
# CurricularFace's t). Of AdaFace's deviation it is the mean of the calls' own deviations, which
# leaves out how the calls' means differ: the whole batch's is larger. No call could know it before
# the others have run, and each must use its margins at once.
@pytest.mark.parametrize("dtype", list(RTOL))
@pytest.mark.parametrize("name", ["adacos", "adaface", "curricularface", "sphereface"])
def test_accumulation_moves_the_state_once(framework: Framework, name: str, dtype: str) -> None:
    found, wanted = accumulated(framework, name, dtype)
    start = losses.get(name).initial_state(CLASSES)
    for call in range(6):
        assert_same_arrays(found[call], wanted[call], RTOL[dtype])
    assert wanted[1] == start
    assert all(wanted[2][key] != start[key] for key in start)
    with pytest.raises(AssertionError):
        assert_same_arrays(found[3], wanted[5], RTOL[dtype])
    if name == "sphereface":
        assert [int(state["step"]) for state in found] == [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("name", ["adacos", "adaface", "curricularface"])
def test_a_batch_that_is_no_number_leaves_the_state(
    framework: Framework, name: str, accumulation: int
) -> None:
    """In accumulation its call counts as one that moved nothing."""
    loss, rng = losses.get(name), np.random.default_rng(0)
    kind = framework.torch.float64 if framework.name == "torch" else "float64"
    head = framework.backend.MarginHead(loss, SIZE, CLASSES, accumulation=accumulation, dtype=kind)
    x, labels = rng.normal(size=(4, SIZE)), rng.integers(0, CLASSES, 4)
    bad = np.where(np.arange(4)[:, None] == 1, np.nan, x)
    call: Any = partial(framework.call, head)
    if framework.name == "tf":
        call = framework.tf.function(head)
    start, w = loss.initial_state(CLASSES), framework.array(head.weight)
    after = loss.evaluate(x, w, labels).state
    for given in (x, bad):
        call(given, labels)
    state = {key: framework.array(value) for key, value in head.carried().items()}
    wanted = {k: (v + start[k] * (accumulation - 1)) / accumulation for k, v in after.items()}
    assert_same_arrays(state, wanted, RTOL["float64"])


def test_the_mean_over_calls_is_the_whole_batch_s_but_for_the_deviation() -> None:
    """What the comment above says, by the spec."""
    loss, rng = losses.get("adaface"), np.random.default_rng(0)
    x = rng.normal(size=(8, SIZE)) * np.repeat([1.0, 9.0], 4)[:, None]
    w, labels = rng.normal(size=(CLASSES, SIZE)), rng.integers(0, CLASSES, 8)
    whole = loss.evaluate(x, w, labels).state
    halves = [loss.evaluate(x[half], w, labels[half]).state for half in (slice(4), slice(4, 8))]
    assert np.mean([each["mean"] for each in halves]) == pytest.approx(float(whole["mean"]))
    assert np.mean([each["std"] for each in halves]) < whole["std"]


def test_sums_of_an_unfinished_step_are_not_saved(torch: Framework) -> None:
    """A head loads where its calls to a step are another number; gradients are not saved either."""
    make = torch.backend.MarginHead
    saved = make("adaface", SIZE, CLASSES, accumulation=3)
    loaded = make("adaface", SIZE, CLASSES)
    assert loaded.load_state_dict(saved.state_dict()).missing_keys == []
    assert sorted(saved.state_dict()) == ["state.mean", "state.std", "weight"]


def test_a_norm_that_overflows_is_a_large_one(framework: Framework) -> None:
    """Not 0: AdaFace's statistics would move the other way."""
    loss, rng = losses.get("adaface"), np.random.default_rng(0)
    head = framework.head(loss, SIZE, CLASSES, "float64")
    x, labels = rng.normal(size=(4, SIZE)), rng.integers(0, CLASSES, 4)
    framework.call(head, np.where(np.arange(4)[:, None] == 1, 1e200, x), labels)
    large = np.where(np.arange(4)[:, None] == 1, 1e100, x)
    wanted = loss.evaluate(large, framework.array(head.weight), labels).state
    state = {key: framework.array(value) for key, value in head.carried().items()}
    assert_same_arrays(state, wanted, RTOL["float64"])
