"""SphereFace2, 2108.01513."""

from mpmath import mpf

from papers import Mutant, Sample, negative, softplus, target


def sphereface2(loss, at: Sample):
    s, m, t, alpha = mpf(loss.scale), mpf(loss.margin), mpf(loss.t), mpf(loss.alpha)
    own, *spread = [2 * ((each + 1) / 2) ** t - 1 for each in (at.cosine, *at.others)]
    wrong = sum(softplus(s * (g + m) + at.bias) for g in spread)
    right = softplus(-(s * (own - m) + at.bias))
    return loss.lw / s * (alpha * right + (1 - alpha) * wrong)


FORMULAS = {"sphereface2": sphereface2}
BY_HAND = [
    (lambda: target("sphereface2", 0.0, t=3.0, margin=0.1), 2 / 8 - 1 - 0.1),
    (lambda: negative("sphereface2", 0.0, t=3.0, margin=0.1), 2 / 8 - 1 + 0.1),
]

FILE = "losses.sphereface2"
MUTANTS = [
    Mutant(FILE, "sphereface2", "alpha * ", "(1 - alpha) * "),
    Mutant(FILE, "sphereface2", "cosines, -self.spec.margin", "cosines, 0.0"),
    Mutant(FILE, "sphereface2", "cosines, self.spec.margin", "cosines, 0.0"),
    Mutant(FILE, "sphereface2", "self.spec.t - 1", "self.spec.t"),
    Mutant(FILE, "sphereface2", "(1 - alpha) * others", "alpha * others"),
    Mutant(FILE, "sphereface2", "self.spec.lw / self.spec.scale", "self.spec.lw"),
]
