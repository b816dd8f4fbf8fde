"""Softmax, and NormFace, 1704.06369."""

import math

import numpy as np
from mpmath import mpf

from marginface import losses
from papers import Sample, scaled_softmax, softmax_loss


def softmax(loss, at: Sample):
    s = mpf(loss.scale)
    others = [s * z + b for z, b in zip(at.others, at.biases, strict=True)]
    return softmax_loss(s * at.cosine + at.bias, others)


def normface(loss, at: Sample):
    return scaled_softmax(loss, at.cosine, at.others)


def not_normalised() -> float:
    evaluation = losses.get("softmax").evaluate(
        np.array([[2.0]]), np.array([[1.0], [3.0]]), np.array([1]), bias=np.array([0.5, 0.0])
    )
    return evaluation.loss


FORMULAS = {"softmax": softmax, "normface": normface}
BY_HAND = [(not_normalised, math.log(1 + math.exp(2.5 - 6)))]
MUTANTS = []  # no tensor code of its own
