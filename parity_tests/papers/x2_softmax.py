"""X2-Softmax, 2312.05281."""

import math

from mpmath import acos, mpf

from marginface import losses
from papers import Mutant, Sample, scaled_softmax, target


def x2_softmax(loss, at: Sample):
    logit = mpf(loss.a) * (acos(at.cosine) - mpf(loss.h)) ** 2 + mpf(loss.k)
    return scaled_softmax(loss, logit, at.others)


def slope(cosine: float, **values: float) -> float:
    return losses.get("x2_softmax", **values).target(cosine, 1.0, {}).slope


NEAREST = 0.001 + 0.001**3 / 6 + 3 * 0.001**5 / 40
FORMULAS = {"x2_softmax": x2_softmax}
BY_HAND = [
    (lambda: target("x2_softmax", 0.0), -0.9 * math.pi**2 / 4 + 0.65),
    (lambda: target("x2_softmax", -1.0, a=-1.0, h=-math.pi, k=2.0), 2 - 4 * math.pi**2),
    # At both ends the slope is that where sin(theta) = 0.001; asin(x) = x + x^3 / 6 + 3 x^5 / 40.
    (lambda: slope(1.0), 1.8 * NEAREST / 0.001),
    (lambda: slope(-1.0), 1.8 * (math.pi - NEAREST) / 0.001),
    (lambda: slope(1.0, h=-0.5), 1.8 * (NEAREST + 0.5) / 0.001),
]

FILE = "losses.x2_softmax"
MUTANTS = [
    Mutant(FILE, "x2_softmax", "(theta - spec.h) ** 2", "theta**2"),
    Mutant(FILE, "x2_softmax", "(theta - spec.h) ** 2", "(theta + spec.h) ** 2"),
    Mutant(FILE, "x2_softmax", "(near - spec.h)", "near"),
    Mutant(FILE, "x2_softmax", "** 2 + spec.k", "** 2"),
    Mutant(FILE, "x2_softmax", "spec.a * (theta - spec.h) ** 2", "spec.a * (theta - spec.h)"),
    Mutant(FILE, "x2_softmax", "-2 * spec.a * (near", "-2 * (near"),
    Mutant(FILE, "x2_softmax", "(near - spec.h) * inverse_sine(cosines)", "(near - spec.h)"),
    Mutant(FILE, "x2_softmax", '== "exact"', '!= "exact"'),
]
