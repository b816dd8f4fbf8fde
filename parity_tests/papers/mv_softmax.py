"""MV-Softmax, 1912.00833."""

import math

from mpmath import acos, cos, mpf

from marginface import losses
from papers import Mutant, Sample, margin_angle, negative, scaled_softmax, target


def pushed(loss, limit, others):
    t = mpf(loss.t)
    return [n if n <= limit else n + (t - 1) * (n + 1) for n in others]


def mv_am(loss, at: Sample):
    m, c = mpf(loss.margin), at.cosine
    above = {"above_margin": m, "above_zero": mpf(0), "everywhere": mpf(-2)}[loss.margin_where]
    return scaled_softmax(loss, c - m if c > above else c, pushed(loss, c - m, at.others))


def mv_arc(loss, at: Sample):
    m, c = mpf(loss.margin), at.cosine
    logit = margin_angle(c, m, loss.past_pi, easy=loss.easy_margin)
    return scaled_softmax(loss, logit, pushed(loss, cos(acos(c) + m), at.others))


def slope(name: str, cosine: float) -> float:
    return losses.get(name, t=1.5).negative(cosine, {"threshold": 0.25}).slope


FORMULAS = {"mv_am": mv_am, "mv_arc": mv_arc}
BY_HAND = [
    (lambda: target("mv_am", 0.5, margin=0.25), 0.25),
    (lambda: target("mv_am", 0.25, margin=0.25), 0.25),  # at the margin there is none yet
    (lambda: target("mv_am", 0.125, margin=0.25, margin_where="above_zero"), -0.125),
    (lambda: target("mv_am", 0.0, margin=0.25, margin_where="above_zero"), 0.0),
    (lambda: target("mv_am", -1.0, margin=0.25, margin_where="everywhere"), -1.25),
    (lambda: target("mv_arc", 0.5, margin=0.3), math.cos(math.pi / 3 + 0.3)),
    (lambda: target("mv_arc", -0.5, margin=0.3), -0.5),  # easy margin
    (lambda: negative("mv_am", 0.5, {"threshold": 0.25}, t=1.5), 1.25),  # (0.5 + 1) 1.5 - 1
    (lambda: negative("mv_arc", 0.5, {"threshold": 0.5}, t=1.5), 0.5),  # a tie is not hard
    (lambda: slope("mv_am", 0.5), 1.5),
    (lambda: slope("mv_arc", 0.25), 1.0),
]

FILE = "losses.mv_softmax"
MUTANTS = [
    Mutant(FILE, "mv_am", "- self.spec.margin}", "+ self.spec.margin}"),
    Mutant(FILE, "mv_am", "cosines > self.spec.lowest", "cosines > 0"),
    Mutant(FILE, "mv_am", "cosines - self.spec.margin, cosines", "cosines, cosines"),
    Mutant(FILE, "mv_arc", "+ self.spec.margin)}", "- self.spec.margin)}"),
    Mutant(FILE, "mv_arc", "easy_margin=self.spec.easy_margin", "easy_margin=False"),
    Mutant(FILE, "mv_arc", "1.0, self.spec.margin, easy", "1.0, 0.0, easy"),
    Mutant(FILE, "mv_am", "t * cosines + (t - 1)", "t * cosines"),
    Mutant(FILE, "mv_am", "t * cosines + (t - 1)", "cosines + (t - 1)"),
    Mutant(FILE, "mv_arc", 'cosines > prepared["threshold"]', 'cosines < prepared["threshold"]'),
    Mutant(FILE, "mv_am", 'cosines > prepared["threshold"]', 'cosines >= prepared["threshold"]'),
]
