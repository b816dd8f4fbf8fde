"""X2-Softmax, 2312.05281."""

import math

from mpmath import acos, mpf

from papers import Mutant, Sample, scaled_softmax, target


def x2_softmax(loss, at: Sample):
    logit = mpf(loss.a) * (acos(at.cosine) - mpf(loss.h)) ** 2 + mpf(loss.k)
    return scaled_softmax(loss, logit, at.others)


FORMULAS = {"x2_softmax": x2_softmax}
BY_HAND = [
    (lambda: target("x2_softmax", 0.0), -0.9 * math.pi**2 / 4 + 0.65),
    (lambda: target("x2_softmax", -1.0, a=-1.0, h=-math.pi, k=2.0), 2 - 4 * math.pi**2),
]

FILE = "losses.x2_softmax"
MUTANTS = [
    Mutant(FILE, "x2_softmax", "angle(cosines) - self.spec.h", "angle(cosines)"),
    Mutant(FILE, "x2_softmax", "angle(cosines) - self.spec.h", "angle(cosines) + self.spec.h"),
    Mutant(FILE, "x2_softmax", "beyond**2 + spec.k", "beyond**2"),
    Mutant(FILE, "x2_softmax", "spec.a * beyond**2", "spec.a * beyond"),
    Mutant(FILE, "x2_softmax", "-2 * spec.a * beyond * inverse_sine", "-2 * beyond * inverse_sine"),
    Mutant(FILE, "x2_softmax", "beyond * inverse_sine(cosines)", "beyond"),
    Mutant(FILE, "x2_softmax", '== "exact"', '!= "exact"'),
]
