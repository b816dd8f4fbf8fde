"""What goes in and out of a learner: the same in both frameworks, one array at a time."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, state_of
from frameworks import Framework
from tiny_training import batches, fresh, train

from marginface import losses
from marginface.arrays import save_file
from marginface.errors import MarginfaceError
from marginface.learner import STEP, name_in_head
from marginface.runs.checkpoints import open_checkpoint
from marginface.runs.stored_arrays import StoredArrays, StoredFile
from marginface.training.processes.groups import ALONE
from marginface.training.saving import save_checkpoint

LOSS = losses.get("curricularface")  # which has a state
NAMES = ["backbone.conv.weight", "head.weight", "optimizer.momentum.backbone.linear.weight"]


def test_specs_are_those_of_the_arrays_and_of_the_other(torch: Framework, tf: Framework) -> None:
    specs = []
    for framework in (torch, tf):
        learner = fresh(framework, LOSS)
        specs.append(learner.array_specs())
        for name, array in learner.arrays():
            assert specs[-1][name].whole == (array.dtype, array.shape), name
    assert specs[0] == specs[1]


def test_named_arrays_come_in_the_order_that_is_asked_for(framework: Framework) -> None:
    learner = fresh(framework, LOSS)
    asked = [NAMES[2], NAMES[0]]
    assert [name for name, _ in learner.arrays(asked)] == asked


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_array_that_is_not_finite_is_named(
    framework: Framework, name: str, value: float
) -> None:
    learner = fresh(framework, LOSS)
    assert learner.first_not_finite() is None
    array = state_of(learner)[name]
    array.flat[3] = value
    learner.load_arrays({name: array}, strict=False)
    assert learner.first_not_finite() == name


def test_a_partial_load_reports_and_leaves_the_rest(framework: Framework) -> None:
    learner = fresh(framework, LOSS)
    train(learner, LOSS, batches(1), 0.01)
    before = state_of(learner)
    given = {NAMES[0]: before[NAMES[0]] + 1, "backbone.other": np.zeros(3)}
    report = learner.load_arrays(given, strict=False)
    assert report.loaded == {NAMES[0]: before[NAMES[0]].shape}
    assert report.unexpected == {"backbone.other": (3,)}
    assert sorted([*report.loaded, *report.missing]) == sorted(before)
    assert_same_arrays(state_of(learner), before | {NAMES[0]: given[NAMES[0]]}, rtol=0)


def test_both_write_the_same_files_and_read_them(
    torch: Framework, tf: Framework, tmp_path: Path
) -> None:
    learners: list[Any] = [fresh(framework, LOSS) for framework in (torch, tf)]
    train(learners[0], LOSS, batches(2), 0.01)
    for number, (learner, name) in enumerate(zip(learners, ("torch", "tf"), strict=True)):
        if number:
            learner.load_arrays(open_checkpoint(tmp_path / "torch" / "step-00000002").state)
        save_checkpoint(ALONE, learner, tmp_path / name, 2, {}, shared=True, keep=1)
    for file in ("state.safetensors", "state.json"):
        one, other = (tmp_path / name / "step-00000002" / file for name in ("torch", "tf"))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f8"])
def test_any_byte_order_and_width_is_taken(framework: Framework, dtype: str) -> None:
    learner = fresh(framework, LOSS)
    before = state_of(learner)
    given = {name: (array + 1).astype(dtype) for name, array in before.items() if name != STEP}
    learner.load_arrays(given | {STEP: np.array(5, ">i8")})
    expected = {name: array.astype(before[name].dtype) for name, array in given.items()}
    assert_same_arrays(state_of(learner), expected | {STEP: np.array(5)}, rtol=0)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (NAMES[2], lambda array: array.astype(str), "is of type <U"),
        (NAMES[2], lambda array: array.astype(object), "is of type object"),
        (NAMES[2], lambda array: array.astype(complex), "is of type complex128"),
        (STEP, lambda _: np.array(-3), "optimizer.step is -3"),
        (STEP, lambda _: np.array(np.nan), "optimizer.step is nan"),
    ],
)
def test_what_cannot_be_set_leaves_all_as_it_was(
    framework: Framework, name: str, change: Any, said: str
) -> None:
    learner = fresh(framework, LOSS)
    before = state_of(learner)
    given = {key: array + 1 for key, array in before.items()}
    with pytest.raises(MarginfaceError, match=said):
        learner.load_arrays(given | {name: change(before[name])})
    assert_same_arrays(state_of(learner), before, rtol=0)


def test_a_damaged_file_of_the_head_is_found_before_anything_is_set(
    framework: Framework, tmp_path: Path
) -> None:
    learner = fresh(framework, LOSS)
    before = state_of(learner)
    apart = {name: array + 1 for name, array in before.items() if name_in_head(name)}
    common = {name: array + 1 for name, array in before.items() if name not in apart}
    files = []
    for name, arrays in (("common", common), ("head", apart)):
        path = tmp_path / name
        save_file(arrays, path)
        files.append(StoredFile(path, zlib.crc32(path.read_bytes())))
    rows = {name: range(len(array)) for name, array in apart.items() if array.ndim}
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(MarginfaceError, match=r"damaged .head is cut short or changed"):
        learner.load_arrays(StoredArrays(files[0], [(files[1], rows)]), strict=False)
    assert_same_arrays(state_of(learner), before, rtol=0)


def test_an_unknown_name_is_one_clear_line(framework: Framework) -> None:
    learner = fresh(framework, LOSS)
    with pytest.raises(
        MarginfaceError, match=r"no array 'nope' \(array_specs\(\) names all \d+\)$"
    ):
        next(learner.arrays([NAMES[0], "nope"]))
