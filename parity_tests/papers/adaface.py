"""AdaFace, 2204.00964."""

import math

from mpmath import acos, cos, mpf, pi, sqrt

from papers import Batch, Mutant, Sample, clip, negative, scaled_softmax, target


def adaface(loss, at: Sample):
    eps, m, k = mpf(loss.eps), mpf(loss.margin), at.own["k"]
    angle = acos(clip(at.cosine, -1 + eps, 1 - eps)) - m * k
    if loss.past_pi == "clip":
        angle = clip(angle, eps, pi - eps)
    others = [clip(n, -1 + eps, 1 - eps) for n in at.others]
    return scaled_softmax(loss, cos(angle) - (m * k + m), others)


def statistics(loss, batch: Batch):
    rate, count = mpf(loss.t_alpha), len(batch.lengths)
    safe = [clip(n, mpf(1e-3), 100) for n in batch.lengths]
    mean = sum(safe) / count
    spread = sqrt(sum((n - mean) ** 2 for n in safe) / (count - 1))
    mu = rate * mean + (1 - rate) * batch.state["mean"]
    sigma = rate * spread + (1 - rate) * batch.state["std"]
    scaled = [loss.h * (n - mu) / (sigma + mpf(1e-3)) for n in safe]
    return [{"k": clip(z, -1, 1)} for z in scaled], {"mean": mu, "std": sigma}


FORMULAS = {"adaface": adaface}
CONSTANTS = {"adaface": statistics}
BY_HAND = [
    (lambda: target("adaface", 0.0, prepared={"quality": 1.0}), math.sin(0.4) - 0.8),
    (lambda: target("adaface", 0.0, prepared={"quality": -1.0}), -math.sin(0.4)),
    (lambda: negative("adaface", 1.0), 0.999),
]

FILE = "losses.adaface"
MUTANTS = [
    Mutant(FILE, "adaface", "- shift, ", "+ shift, "),
    Mutant(FILE, "adaface", "(self.spec.margin + shift)", "self.spec.margin"),
    Mutant(FILE, "adaface", "<= 1 - eps", "<= 1"),
    Mutant(FILE, "adaface", "turned <= math.pi - eps", "turned <= math.pi"),
    Mutant(FILE, "adaface", "turned >= eps", "turned >= 0"),
    Mutant(FILE, "adaface", "std + STD_OFFSET", "std"),
    Mutant(FILE, "adaface", "spec.h * (safe", "(safe"),
    Mutant(FILE, "adaface", '"mean": mean, "std"', '"mean": state["mean"], "std"'),
    Mutant(FILE, "adaface", '"std": std}', '"std": state["std"]}'),
    Mutant(FILE, "adaface", ("safe.std()", "count - 1, 1"), ("safe.std(correction=0)", "count, 1")),
    Mutant(FILE, "adaface", "limit = 1 - self.spec.eps", "limit = 1"),
]
