"""What a learner's arrays must fit."""

import numpy as np
import pytest

from marginface.arrays import ArraySpec
from marginface.errors import MarginfaceError
from marginface.learner import LearnerArray, check_fits

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
    with pytest.raises(MarginfaceError, match=r"it has no parameter backbone.a, shape \[2\]"):
        check_fits({"head.weight": np.zeros((7, 4))}, LAYOUT, "it")
    with pytest.raises(MarginfaceError, match=r"1 parameters that the model lacks, such as more"):
        check_fits({**FITTING, "more": np.zeros(1)}, LAYOUT, "it")


def test_what_is_missing_or_unexpected_can_be_reported_instead():
    given = {"head.weight": np.zeros((7, 4)), "more": np.zeros(1)}
    report = check_fits(given, LAYOUT, "it", strict=False)
    assert report == ({"head.weight": (7, 4)}, {"backbone.a": (2,)}, {"more": (1,)})
    with pytest.raises(MarginfaceError, match=r"head.weight has shape \[7, 5\] in it"):
        check_fits({"head.weight": np.zeros((7, 5))}, LAYOUT, "it", strict=False)
