"""Every family has its paper's file, and what it works out by hand is what the reference gives."""

from collections.abc import Callable

import pytest
from papers import paper

from marginface.losses.families import FAMILIES
from marginface.losses.registry import of_family

BY_HAND = [(family, *each) for family in FAMILIES for each in paper(family).BY_HAND]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_paper_has_its_family(family: str) -> None:
    losses = {loss.name for loss in of_family(family)}
    assert set(paper(family).FORMULAS) == losses
    assert set(getattr(paper(family), "CONSTANTS", {})) <= losses
    assert paper(family).BY_HAND
    assert {mutant.loss for mutant in paper(family).MUTANTS} <= losses
    assert {mutant.file for mutant in paper(family).MUTANTS} <= {f"losses.{family}"}


@pytest.mark.parametrize(("family", "found", "by_hand"), BY_HAND)
def test_by_hand(family: str, found: Callable[[], float], by_hand: float) -> None:
    del family
    assert found() == pytest.approx(by_hand, rel=1e-14, abs=1e-14)
