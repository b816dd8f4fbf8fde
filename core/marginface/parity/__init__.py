"""Parity: every loss in every framework against the spec, and the frameworks against each other."""

from marginface.losses.problems import DTYPES, Problem, problem, rounded, variants
from marginface.parity.measure import Deviation, broken, compare, errors, tolerance

__all__ = [
    "DTYPES",
    "Deviation",
    "Problem",
    "broken",
    "compare",
    "errors",
    "problem",
    "rounded",
    "tolerance",
    "variants",
]
