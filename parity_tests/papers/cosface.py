"""CosFace, 1801.09414."""

import math

import numpy as np
from mpmath import mpf

from marginface import losses
from papers import Mutant, Sample, scaled_softmax


def cosface(loss, at: Sample):
    return scaled_softmax(loss, at.cosine - mpf(loss.margin), at.others)


def on_the_axis() -> float:
    evaluation = losses.get("cosface", scale=4, margin=0.25).evaluate(
        np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0])
    )
    return evaluation.loss


FORMULAS = {"cosface": cosface}
BY_HAND = [(on_the_axis, math.log(1 + math.exp(-4 * 0.75)))]

FILE = "losses.cosface"
MUTANTS = [
    Mutant(FILE, "cosface", "cosines - self.spec.margin", "cosines"),
    Mutant(FILE, "cosface", "cosines - self.spec.margin", "cosines + self.spec.margin"),
]
