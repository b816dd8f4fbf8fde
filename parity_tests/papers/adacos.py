"""AdaCos, 1905.00292."""

import math

import numpy as np
from mpmath import acos, cos, exp, log, mpf, pi, sqrt

from marginface import losses
from papers import Batch, Mutant, Sample, softmax_loss


def adacos(loss, at: Sample):
    s = at.own["s"]
    return softmax_loss(s * at.cosine, [s * n for n in at.others])


def of_the_batch(loss, batch: Batch):
    before, count = batch.state["scale"], len(batch.cosines)
    average = sum(sum(exp(before * c) for c in row) for row in batch.others) / count
    angles = sorted(acos(c) for c in batch.cosines)
    s = log(average) / cos(min(pi / 4, angles[(count - 1) // 2])) if average > 1 else before
    used = s if loss.scale_from == "batch" else before
    return [{"s": used}] * count, {"scale": s}


def next_scale(angles: list[float], sums: list[float], scale: float = 2.0) -> float:
    cosines, others = np.cos(angles), np.log(sums)
    state = {"scale": np.array(scale)}
    return float(losses.get("adacos").finish(cosines, others, state)["scale"])


FORMULAS = {"adacos": adacos}
CONSTANTS = {"adacos": of_the_batch}
BY_HAND = [
    # of the angles the median is 0.5, and of sums of exponentials the mean is 5
    (lambda: next_scale([0.5, 1.5, 0.1], [2.0, 4.0, 9.0]), math.log(5) / math.cos(0.5)),
    # of four angles the lower one of the middle two; beyond pi / 4 it counts as that
    (lambda: next_scale([0.7, 0.2, 0.3, 1.0], [5.0] * 4), math.log(5) / math.cos(0.3)),
    (lambda: next_scale([1.0, 1.2, 1.4], [5.0] * 3), math.log(5) * math.sqrt(2)),
    (lambda: next_scale([0.5, 0.5], [0.5, 1.0]), 2.0),
    (
        lambda: float(losses.get("adacos").initial_state(10_572)["scale"]),
        float(sqrt(mpf(2)) * log(10_571)),
    ),
    (lambda: float(losses.get("adacos", scale=30).initial_state(10_572)["scale"]), 30.0),
]

FILE = "losses.adacos"
MUTANTS = [
    Mutant(
        FILE,
        "adacos",
        ("others.logsumexp(0) - math.log(len(others))", "tf.reduce_logsumexp(others) - "),
        ("others.logsumexp(0)", "tf.reduce_logsumexp(others) + 0 * "),
    ),
    Mutant(
        FILE,
        "adacos",
        ("(descending=True)", ', direction="DESCENDING"'),
        ("()", ""),
    ),
    Mutant(
        FILE,
        "adacos",
        ("(len(cosines) - 1) // 2", "(count - 1) // 2"),
        ("len(cosines) // 2", "count // 2"),
    ),
    Mutant(
        FILE,
        "adacos",
        ("median.clamp(min=LEAST_COSINE)", "tf.maximum(median, LEAST_COSINE)"),
        ("median", "median"),
    ),
    Mutant(FILE, "adacos", "log_mean > 0, scale", "log_mean > 100, scale"),
]
