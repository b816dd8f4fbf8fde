from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.errors import MarginfaceError
from marginface.training.schedules import SCHEDULES, Schedule


def make(kind: str, **values):
    given = {"lr": 0.1, "total_steps": 100, **values}
    return Schedule(kind=kind, **given)


def test_polynomial_starts_at_the_full_rate_and_would_reach_zero_after_the_last_step():
    schedule = make("polynomial")
    assert schedule(0) == 0.1
    assert schedule(50) == pytest.approx(0.05)
    assert schedule(99) == pytest.approx(0.001)
    assert schedule(100) == 0.0


def test_power_bends_the_polynomial():
    assert make("polynomial", power=2.0)(50) == pytest.approx(0.1 * 0.25)


def test_cosine_is_half_way_in_the_middle():
    schedule = make("cosine")
    assert schedule(0) == 0.1
    assert schedule(50) == pytest.approx(0.05)
    assert schedule(25) == pytest.approx(0.1 * (1 + 0.5**0.5) / 2)
    assert schedule(100) == pytest.approx(0.0)


def test_step_multiplies_at_each_milestone():
    schedule = make("step", milestones=(10, 20), gamma=0.1)
    rates = [schedule(step) for step in (9, 10, 19, 20, 99)]
    assert rates == pytest.approx([0.1, 0.01, 0.01, 0.001, 0.001])


def test_milestones_count_from_the_first_step_not_from_the_end_of_the_warm_up():
    assert make("step", milestones=(10,), warmup_steps=5)(10) == pytest.approx(0.01)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_warm_up_rises_linearly_to_the_full_rate(kind):
    schedule = make(kind, warmup_steps=4)
    assert [schedule(step) for step in range(5)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


def test_a_run_that_ends_within_its_warm_up_only_rises():
    schedule = make("cosine", total_steps=3, warmup_steps=10)
    assert [schedule(step) for step in range(3)] == pytest.approx([0.01, 0.02, 0.03])


def test_a_warm_up_or_milestone_that_the_run_does_not_reach_is_refused():
    make("step", warmup_steps=99, milestones=(10, 99)).require_reached()
    with pytest.raises(MarginfaceError, match=r"warmup_steps is 100, .* 100 steps .* 10 or so"):
        make("cosine", warmup_steps=100).require_reached()
    with pytest.raises(MarginfaceError, match=r"milestone 100 is never reached: .* 100 steps"):
        make("step", milestones=(10, 100, 200)).require_reached()


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    kind=st.sampled_from(SCHEDULES),
    total=st.integers(1, 60),
    warmup=st.integers(0, 20),
    power=st.floats(0.5, 3),
)
def test_rates_stay_in_range_and_never_rise_after_the_warm_up(kind, total, warmup, power):
    schedule = make(kind, total_steps=total, warmup_steps=warmup, power=power, milestones=(5, 9))
    rates = [schedule(step) for step in range(total)]
    assert all(0 < rate <= 0.1 * (1 + 1e-12) for rate in rates)
    after = rates[max(0, warmup - 1) :]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(after))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"total_steps": 0}, "total_steps must be >= 1, got 0"),
        ({"milestones": (5, 5)}, r"milestones must rise from 1 on, got \[5, 5\]"),
        ({"milestones": (0, 5)}, r"milestones must rise from 1 on, got \[0, 5\]"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(MarginfaceError, match=message):
        make(**{"kind": "step", **values})


def test_a_negative_step_is_refused():
    with pytest.raises(MarginfaceError, match="step must be >= 0, got -1"):
        make("cosine")(-1)
