"""USS, 2311.02523."""

from mpmath import mpf

from papers import Mutant, Sample, clip, scaled_softmax, softplus, target
from papers.vpl import kept


def uss(loss, at: Sample):
    s, b, (own, others) = mpf(loss.scale), at.bias, at.remembered
    pairs = [(-1, s * (own - mpf(loss.pair_margin)) + b)] if own is not None else []
    pairs += [(1, s * each + b) for each in others if each is not None]
    if loss.clamp:
        pairs = [(sign, clip(each, -s, s)) for sign, each in pairs]
    classes = scaled_softmax(loss, at.cosine - mpf(loss.margin), at.others)
    return classes + sum(softplus(sign * each) for sign, each in pairs)


def latest(loss, state):
    begun = state["step"] + 1 > loss.start_step
    pairs = zip(state["latest"], state["seen"], strict=True)
    return [vector if begun and seen > 0 else None for vector, seen in pairs]


FORMULAS = {"uss": uss}
CONSTANTS = {"uss": kept}
REMEMBERED = {"uss": latest}
BY_HAND = [(lambda: target("uss", 0.9), 0.5)]

FILE = "losses.uss"
MUTANTS = [
    Mutant(FILE, "uss", 'rows["seen"] > 0', 'rows["seen"] > 1'),
    Mutant(FILE, "uss", "> self.spec.start_step", ">= self.spec.start_step"),
    Mutant(FILE, "uss", "cosines - self.spec.margin", "cosines + self.spec.margin"),
]
