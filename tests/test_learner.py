"""What a learner's arrays must fit."""

import numpy as np
import pytest

from marginface.arrays import ArraySpec
from marginface.errors import MarginfaceError
from marginface.learner import STEP, LearnerArray, check_fits

LAYOUT = {
    name: LearnerArray(ArraySpec(np.dtype(np.float64), shape))
    for name, shape in {"head.weight": (7, 4), "backbone.a": (2,)}.items()
}
FITTING = {"head.weight": np.ones((7, 4)), "backbone.a": np.ones(2)}


def test_the_parameter_that_does_not_fit_is_named_with_both_shapes():
    check_fits(FITTING, LAYOUT, "it")
    with pytest.raises(
        MarginfaceError, match=r"head.weight has shape \[9, 4\] in it, but \[7, 4\]"
    ):
        check_fits({**FITTING, "head.weight": np.zeros((9, 4))}, LAYOUT, "it")
    for shape, advice in (
        ((5, 4), r"classes .*: it is not whole, or of"),
        ((7, 5), "use the back"),
    ):
        with pytest.raises(MarginfaceError, match=advice):
            check_fits({**FITTING, "head.weight": np.zeros(shape)}, LAYOUT, "it")
    with pytest.raises(
        MarginfaceError, match=r"it has no parameter backbone.a, shape \[2\]; it is not"
    ):
        check_fits({"head.weight": np.zeros((7, 4))}, LAYOUT, "it")
    with pytest.raises(MarginfaceError, match=r"1 parameters that the model lacks, such as more"):
        check_fits({**FITTING, "more": np.zeros(1)}, LAYOUT, "it")


def test_what_is_missing_or_unexpected_can_be_reported_instead():
    given = {"head.weight": np.zeros((7, 4)), "more": np.zeros(1)}
    report = check_fits(given, LAYOUT, "it", strict=False)
    assert report == ({"head.weight": (7, 4)}, {"backbone.a": (2,)}, {"more": (1,)})
    with pytest.raises(MarginfaceError, match=r"head.weight has shape \[7, 5\] in it"):
        check_fits({"head.weight": np.zeros((7, 5))}, LAYOUT, "it", strict=False)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((7, 4), "1"), "<U1"),
        (np.full((7, 4), None), "object"),
        (np.ones((7, 4), complex), "complex128"),
        (np.ones((7, 4), bool), "bool"),
        (np.zeros((7, 4), "M8[s]"), r"datetime64\[s\]"),
        ([[1.0] * 4] * 7, "list"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_is_no_real_number_is_named_with_its_type(array, said, strict):
    with pytest.raises(MarginfaceError, match=f"head.weight is of type {said} in it, expected"):
        check_fits({**FITTING, "head.weight": array}, LAYOUT, "it", strict=strict)


@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f8", ">i2", "u1"])
def test_real_numbers_of_any_type_and_byte_order_are_read_as_the_learners_own(dtype):
    array = np.arange(28).reshape(7, 4).astype(dtype)
    check_fits({**FITTING, "head.weight": array}, LAYOUT, "it")
    for rows in ((), [range(3), range(3, 7)]):
        part = LAYOUT["head.weight"]._replace(rows=rows).read_part(array, -1)
        assert part.dtype == np.dtype(np.float64)
        assert (part == np.arange(28).reshape(7, 4)[3 if rows else 0 :]).all()


@pytest.mark.parametrize("step", [-3, np.nan, np.inf, 2.5, 1e30])
def test_a_count_of_steps_is_whole_and_not_negative(step):
    layout = {STEP: LearnerArray(ArraySpec(np.dtype(np.int64), ()))}
    check_fits({STEP: np.array(0)}, layout, "it")
    check_fits({STEP: np.array(7.0)}, layout, "it")
    with pytest.raises(MarginfaceError, match=r"optimizer.step is \S+ in it, expected the number"):
        check_fits({STEP: np.array(step)}, layout, "it")


def test_a_foreign_name_is_cut_in_the_message():
    with pytest.raises(MarginfaceError, match="such as xxx") as caught:
        check_fits({**FITTING, "x" * 10_000: np.ones(1)}, LAYOUT, "it")
    assert len(str(caught.value)) < 400
