"""SFace, 2205.12010."""

import math

from mpmath import acos, exp, mpf

from papers import Mutant, Sample, negative, target


def sface(loss, at: Sample):
    s, k, a, b = (mpf(each) for each in (loss.scale, loss.k, loss.a, loss.b))
    own = at.cosine / (1 + exp(-k * (acos(at.cosine) - a)))
    others = [c / (1 + exp(k * (acos(c) - b))) for c in at.others]
    return s * (sum(others) - own)


FORMULAS = {"sface": sface}
AT_A, AT_B = math.cos(0.8), math.cos(1.23)  # where the sigmoids are a half
BY_HAND = [
    (lambda: target("sface", AT_A), AT_A / 2),
    (lambda: target("sface", -0.5), -0.5),
    (lambda: negative("sface", AT_B), AT_B / 2),
    (lambda: negative("sface", 0.9), 0.9),
]

FILE = "losses.sface"  # angles_to_all, which TensorFlow has alone, has a test of its own
MUTANTS = [
    Mutant(FILE, "sface", "self.spec.k, self.spec.a", "-self.spec.k, self.spec.a"),
    Mutant(FILE, "sface", "self.spec.k, self.spec.a", "self.spec.k, self.spec.b"),
    Mutant(FILE, "sface", "-self.spec.k, self.spec.b", "-self.spec.k, self.spec.a"),
    Mutant(FILE, "sface", "weight - steepness", "weight + steepness"),
    Mutant(FILE, "sface", "(1 - weight) * c *", "c *"),
    Mutant(FILE, "sface", " * inverse_sine(c)", ""),
    Mutant(FILE, "sface", '== "exact"', '!= "exact"'),
    Mutant(
        FILE,
        "sface",
        ("torch.sub(others, target)", "tf.subtract(others, target)"),
        ("torch.sub(target, others)", "tf.subtract(target, others)"),
    ),
]
