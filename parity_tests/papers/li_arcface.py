"""Li-ArcFace (AirFace), 1907.12256."""

import math

from mpmath import acos, mpf, pi

from papers import Mutant, Sample, negative, scaled_softmax, target


def li_arcface(loss, at: Sample):
    logit = (pi - 2 * (acos(at.cosine) + mpf(loss.margin))) / pi
    return scaled_softmax(loss, logit, [(pi - 2 * acos(n)) / pi for n in at.others])


FORMULAS = {"li_arcface": li_arcface}
BY_HAND = [
    (lambda: target("li_arcface", math.sqrt(0.5), margin=math.pi / 4), 0.0),
    (lambda: negative("li_arcface", -1.0), -1.0),
]

FILE = "losses.li_arcface"
MUTANTS = [
    Mutant(FILE, "li_arcface", (".add_(margin)", " + margin)"), ("", ")")),
    Mutant(FILE, "li_arcface", "(cosines, 0.0)", "(cosines, self.spec.margin)"),
    Mutant(FILE, "li_arcface", "(2 / math.pi)", "(1 / math.pi)"),
]
