"""NPCFace, 2007.10172."""

import math

from mpmath import acos, cos, mpf

from papers import Batch, Mutant, Sample, negative, scaled_softmax, target


def npcface(loss, at: Sample):
    c, t, a = at.cosine, mpf(loss.t), mpf(loss.a)
    others = [n if n <= at.own["threshold"] else t * n + a for n in at.others]
    own = c if c <= 0 else cos(acos(c) + at.own["margin"])
    return scaled_softmax(loss, own, others)


def of_hard_ones(loss, batch: Batch):
    found = []
    for own, others in zip(batch.cosines, batch.others, strict=True):
        threshold = cos(acos(own) + mpf(loss.threshold_margin))
        hard = [c for c in others if c > threshold]
        mean = sum(hard) / len(hard) if hard else mpf(0)
        margin = mpf(loss.m0) + mpf(loss.m1) * mean
        found.append({"threshold": threshold, "margin": margin})
    return found, {}


FORMULAS = {"npcface": npcface}
CONSTANTS = {"npcface": of_hard_ones}
TWO = {"hard": 2.0, "hard_cosines": 0.5}  # so m = 0.4 + 0.2 * 0.25
BY_HAND = [
    (lambda: negative("npcface", 0.5, {"threshold": 0.4}), 1.1 * 0.5 + 0.2),
    (lambda: negative("npcface", 0.5, {"threshold": 0.5}), 0.5),
    (lambda: target("npcface", math.cos(0.3), prepared=TWO), math.cos(0.75)),
    (lambda: target("npcface", 1.0, prepared={"hard": 0.0, "hard_cosines": 0.0}), math.cos(0.4)),
    (lambda: target("npcface", -0.2, prepared=TWO), -0.2),
]

FILE = "losses.npcface"
MUTANTS = [
    Mutant(FILE, "npcface", "angle(cosines) + self.spec", "angle(cosines) - self.spec"),
    Mutant(FILE, "npcface", '"hard_cosines": cosines * hard', '"hard_cosines": cosines'),
    Mutant(FILE, "npcface", '{"hard": hard', '{"hard": hard * 0 + 1'),
    Mutant(FILE, "npcface", "cosines > prepared", "cosines < prepared"),
    Mutant(FILE, "npcface", "self.spec.m0 + self.spec.m1", "self.spec.m0 - self.spec.m1"),
    Mutant(FILE, "npcface", "self.spec.t * cosines", "cosines"),
    Mutant(FILE, "npcface", "* cosines + self.spec.a", "* cosines"),
    Mutant(FILE, "npcface", " * inverse_sine(c)", ""),
    Mutant(
        FILE,
        "npcface",
        ("torch.where(c > 0, torch.cos(turned), c)", "tf.where(c > 0, tf.cos(turned), c)"),
        ("torch.cos(turned)", "tf.cos(turned)"),
    ),
]
