"""ArcFace and the combined margin, 1801.07698; sub-center ArcFace, ECCV 2020."""

import math

import numpy as np
from mpmath import mpf

from marginface import losses
from papers import Mutant, Sample, margin_angle, multiplied_angle, scaled_softmax, target


def arcface(loss, at: Sample):
    logit = margin_angle(at.cosine, mpf(loss.margin), loss.past_pi, easy=loss.easy_margin)
    return scaled_softmax(loss, logit, at.others)


def combined_margin(loss, at: Sample):
    m1, m2, m3 = mpf(loss.m1), mpf(loss.m2), mpf(loss.m3)
    if m1 == 1:
        logit = margin_angle(at.cosine, m2, loss.past_pi)
    else:
        logit = multiplied_angle(at.cosine, m1, loss.past_pi, m2)
    return scaled_softmax(loss, logit - m3, at.others)


THETA = math.pi / 3


def between_two_axes() -> float:
    """Two classes on the axes, one embedding at 60 degrees to its own class."""
    evaluation = losses.get("arcface", scale=2, margin=0.5).evaluate(
        3 * np.array([[math.cos(THETA), math.sin(THETA)]]), np.diag([2.0, 0.5]), np.array([0])
    )
    return evaluation.loss


FORMULAS = {"arcface": arcface, "subcenter_arcface": arcface, "combined_margin": combined_margin}
BY_HAND = [
    (
        between_two_axes,
        math.log(1 + math.exp(2 * math.sin(THETA) - 2 * math.cos(THETA + 0.5))),
    ),
    # cos(pi + m) = -cos(m), mirrored at -1
    (lambda: target("arcface", -1.0, past_pi="mirror"), math.cos(0.5) - 2),
    (lambda: target("combined_margin", -1.0, m3=0.25, past_pi="mirror"), math.cos(0.5) - 2.25),
]

FILE = "losses.arcface"
MUTANTS = [
    Mutant(FILE, "arcface", "1.0, self.spec.margin, easy", "1.0, 0.0, easy"),
    Mutant(FILE, "arcface", "easy_margin=self.spec.easy_margin", "easy_margin=False"),
    Mutant(FILE, "combined_margin", "[0] - self.spec.m3", "[0] + self.spec.m3"),
    Mutant(FILE, "combined_margin", "self.spec.m1, self.spec.m2)", "self.spec.m1, 0.0)"),
    Mutant(FILE, "combined_margin", "cosines, self.spec.m1,", "cosines, 1.0,"),
]
