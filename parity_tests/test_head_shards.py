"""Classes shared among real processes: the same losses and weights as in one, by the spec."""

import json
from dataclasses import astuple
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sharded
from comparison import RTOL, assert_same_arrays
from frameworks import Framework
from processes import run_all
from row_steps import evaluate_sample, put_back, saved_names, step_rows
from sharded import MODES, RATE, Case
from test_head_filter import TAKING

from marginface import MarginfaceError, losses
from marginface.heads import Shard, measure

ALL = (
    *(Case(name, mode) for name in losses.names() for mode in MODES),
    *(Case(name, "filtered") for name in TAKING),
)
# What differs between losses as a shard sees it: a bias for each class or for all, several centres,
# softplus instead of logsumexp, the norm, state, draws, negatives that depend on the batch.
SOME = (
    *(Case("arcface", mode) for mode in MODES),
    Case("softmax", "sampled"),
    Case("sphereface2", "sampled"),
    Case("sphereface2", "frozen"),
    Case("subcenter_arcface", "sampled"),
    Case("curricularface", "blocks"),
    Case("elasticface_arc_plus", "dense"),
    Case("magface", "dense"),
    Case("sphereface", "dense"),
    Case("softmax", "adamw"),
    Case("sphereface2", "adamw"),
    Case("sface", "sampled"),
    Case("npcface", "blocks"),
    Case("npcface", "sampled"),
    Case("adacos", "update"),
    Case("adacos last_step", "sampled"),
    Case("arcface", "filtered"),
    Case("subcenter_arcface", "filtered"),
    Case("vpl", "blocks"),
    Case("vpl", "sampled"),
    Case("uss", "blocks"),
    Case("uss", "sampled"),
    Case("adaptiveface", "dense"),
    Case("adaptiveface", "sampled"),
)
# A bias that is margins, none, one of all classes, and a state beside.
OVERFLOWING = tuple(
    Case(name, "overflowing")
    for name in ("adaptiveface", "arcface", "sphereface2", "curricularface")
)
# Shards of other lengths, or one of all, are no matter of a loss's formula: the cases of each way
# that a head keeps, draws and steps its classes, and of each kind of array.
THIRDS = tuple(
    case
    for case in SOME
    if case.name
    in {"arcface", "sphereface2", "curricularface", "subcenter_arcface", "uss", "softmax"}
    | {"adaptiveface"}
)
FEW = (
    Case("arcface", "filtered"),  # in blocks
    Case("arcface", "update"),
    Case("sphereface2", "frozen"),  # a bias for each class: softmax, in TINY
    Case("adaface", "dense"),
    Case("sphereface2", "adamw"),
    Case("npcface", "dense"),
    Case("adacos", "dense"),
    Case("adacos last_step", "dense"),
    Case("uss", "sampled"),
)
# A class a process, or hardly more: one bias of all classes is then as long as one of each.
TINY = tuple(
    Case(name, mode, classes)
    for name, mode, classes in (
        ("sphereface2", "update", 2),
        ("uniface", "update", 3),
        ("softmax", "sampled", 3),
        ("softmax", "update", 2),
    )
)
# TensorFlow traces each case anew. One bias is sampled in `frozen`, and alone in sphereface2.
QUICK = {"torch": SOME + TINY, "tf": FEW + tuple(case for case in TINY if case.name != "uniface")}


def run(framework: str, count: int, cases: tuple[Case, ...], folder: Path) -> list[dict[str, Any]]:
    """Run cases in some processes; return the arrays of each."""
    path = folder / "cases.json"
    path.write_text(json.dumps([astuple(case) for case in cases]))
    run_all([sharded.__file__, framework, path, folder / "out"], count)
    return [dict(np.load(folder / f"out.{rank}.npz")) for rank in range(count)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that runs so many processes of a framework, once."""

    @cache
    def once(framework: str, count: int, cases: tuple[Case, ...]) -> list[dict[str, Any]]:
        return run(framework, count, cases, tmp_path_factory.mktemp(f"{framework}_{count}"))

    return once


@cache
def reference(case: Case) -> dict[str, Any]:
    """Return the same run by the spec, in one process, with the reference's optimizer."""
    loss = case.loss
    table, arrays = case.start()
    arrays = {name: value.copy() for name, value in arrays.items()}
    state: Any = case.state()
    found: dict[str, Any] = {}
    for number, (x, labels, draw) in enumerate(case.steps()):
        put_back(loss, arrays)
        if not np.isfinite(x).all():  # nothing moves
            found[f"loss.{number}"] = np.nan
            continue
        classes = draw.get("classes", np.arange(case.classes))
        rows: dict[str, Any] = {"bias": slice(None)}
        if "bias" in arrays and len(arrays["bias"]) > 1:
            rows["bias"] = classes
        centers = np.arange(loss.num_centers)
        rows["weight"] = (classes[:, None] * loss.num_centers + centers).ravel()
        given = x @ table, arrays["weight"][rows["weight"]], np.searchsorted(classes, labels)
        bias = arrays["bias"][rows["bias"]] if "bias" in arrays else None
        found[f"metrics.{number}"] = np.array(measure(loss, *given, bias))
        each = evaluate_sample(
            loss,
            *given,
            classes,
            bias=bias,
            state=state,
            draw={name: draw[name] for name in loss.draws},
            interclass_filter=case.options.get("interclass_filter"),
        )
        state = each.state
        found[f"loss.{number}"] = each.loss
        if not case.frozen:
            table = table - RATE * x.T @ each.gradients["embeddings"]
        for name in {"weight", "bias"} & set(arrays):
            gradient = each.gradients[name]
            if "update" in case.options:
                step_rows(case.options["update"], arrays, name, rows[name], gradient, RATE)
            else:
                arrays[name] -= RATE * gradient
        if "update" in case.options:  # which puts back what it steps
            put_back(loss, arrays)
    found |= {"table": table} | arrays
    return found | saved_names(loss, state)


def of(case: Case, found: dict[str, Any]) -> dict[str, Any]:
    """Return one case's arrays."""
    prefix = case.key("")
    return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


def assert_as_one(found: list[dict[str, Any]], cases: tuple[Case, ...]) -> None:
    """Every process has the spec's losses and weights, those of all classes."""
    for case in cases:
        if case.mode == "corrected":  # which the spec has not; test_head_sampling holds it to sums
            continue
        for each in found:
            assert_same_arrays(of(case, each), reference(case), RTOL["float64"])


def test_two_processes_are_one(framework: Framework, runs: Any) -> None:
    cases = QUICK[framework.name]
    assert_as_one(runs(framework.name, 2, cases), cases)


@pytest.mark.parametrize("count", [1, 3])
def test_so_are_one_and_three(torch: Framework, count: int, runs: Any) -> None:
    assert_as_one(runs(torch.name, count, THIRDS), THIRDS)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3])
def test_all_losses_in_all_modes(framework: Framework, count: int, runs: Any) -> None:
    cases = ALL + (TINY if count == 2 else ())
    assert_as_one(runs(framework.name, count, cases), cases)


@pytest.mark.slow
def test_of_a_sample_that_is_no_number_all_leave_the_step_out(
    framework: Framework, runs: Any
) -> None:
    """Though its class is in one of them."""
    assert_as_one(runs(framework.name, 2, OVERFLOWING), OVERFLOWING)


def test_corrected_samples_are_one_process_s(torch: Framework, runs: Any) -> None:
    cases = {1: THIRDS, 2: QUICK[torch.name], 3: THIRDS}  # as they ran above
    one, *others = (runs(torch.name, count, cases[count])[0] for count in cases)
    case = Case("arcface", "corrected")
    for each in others:
        assert_same_arrays(of(case, each), of(case, one), RTOL["float64"])


@pytest.mark.parametrize("change", ["loss.9", "weight", "table", "momentum.weight"])
def test_another_result_is_caught(framework: Framework, change: str, runs: Any) -> None:
    case = Case("arcface", "update")
    found = dict(of(case, runs(framework.name, 2, QUICK[framework.name])[1]))
    found[change] = found[change] * (1 + 1e-6)
    with pytest.raises(AssertionError):
        assert_same_arrays(found, reference(case), RTOL["float64"])


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2)])
def test_no_such_shard(index: int, count: int) -> None:
    with pytest.raises(MarginfaceError, match=f"shard {index} of {count} is none; count from 0"):
        Shard(index, count)


def test_more_processes_than_classes(framework: Framework) -> None:
    with pytest.raises(MarginfaceError, match="3 processes cannot share 2 classes; start at most"):
        framework.backend.MarginHead("arcface", 4, 2, shard=Shard(0, 3))


def test_a_shard_alone_says_so(framework: Framework) -> None:
    head = framework.backend.MarginHead("arcface", 4, 6, shard=Shard(1, 2))
    with pytest.raises(MarginfaceError, match=r"this head is shard 1 of 2, but .* does not run"):
        framework.call(head, np.ones((2, 4), np.float32), np.array([0, 5]))


def test_beside_a_backbone_in_fsdp(torch: Framework, tmp_path: Path) -> None:
    import fully_sharded

    del torch  # it must be installed
    run_all([fully_sharded.__file__, tmp_path / "out"], 2)
    expected = fully_sharded.learn(0, 1)
    for rank in range(2):
        found = dict(np.load(tmp_path / f"out.{rank}.npz"))
        assert_same_arrays(found, expected, RTOL["float64"])
        found["weight"] = found["weight"] * (1 + 1e-6)
        with pytest.raises(AssertionError):
            assert_same_arrays(found, expected, RTOL["float64"])


def test_arrays_of_another_head_are_refused(framework: Framework) -> None:
    make = framework.backend.MarginHead
    head, shard = make("softmax", 4, 6), make("softmax", 4, 6, shard=Shard(1, 2))
    arrays = {"weight": np.ones((6, 4), np.float32), "bias": np.ones(6, np.float32)}
    for each in (head, shard):
        each.load_arrays(arrays)
        with pytest.raises(MarginfaceError, match=r"weight has shape \[6, 4\], got shape \[9, 4\]"):
            each.load_arrays(arrays | {"weight": np.ones((9, 4), np.float32)})
        with pytest.raises(MarginfaceError, match=r"bias has shape \[6\], got nothing; use"):
            each.load_arrays({"weight": arrays["weight"]})


def test_a_draw_for_all_is_each_process_s(framework: Framework) -> None:
    head = framework.backend.MarginHead("elasticface_arc", 4, 6, shard=Shard(1, 2))
    draw = head.draw(np.random.default_rng(0), np.arange(4))
    whole = losses.get("elasticface_arc").draw(np.random.default_rng(0), 4)
    np.testing.assert_array_equal(framework.array(draw["margin"]), whole["margin"][2:])


def test_shards_differ_under_one_seed(torch: Framework) -> None:
    weights = []
    for index in range(2):
        torch.torch.manual_seed(0)
        head = torch.backend.MarginHead("arcface", 4, 6, shard=Shard(index, 2))
        weights.append(torch.array(head.weight))
    assert (weights[0] != weights[1]).all()
