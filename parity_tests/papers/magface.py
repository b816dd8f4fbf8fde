"""MagFace, 2103.06627."""

import math

from mpmath import mpf

from marginface import losses
from papers import Mutant, Sample, clip, margin_angle, scaled_softmax, target


def magface(loss, at: Sample):
    low, high = mpf(loss.l_a), mpf(loss.u_a)
    a = clip(at.length, low, high)
    rise = (mpf(loss.u_margin) - mpf(loss.l_margin)) / (high - low)
    m = rise * (a - low) + mpf(loss.l_margin)
    logit = margin_angle(at.cosine, m, loss.past_pi, easy=loss.easy_margin)
    return scaled_softmax(loss, logit, at.others) + loss.lambda_g * (1 / a + a / high**2)


FORMULAS = {"magface": magface}
BY_HAND = [
    (lambda: target("magface", 1.0, norm=60.0), math.cos(0.625)),  # half way between margins
    (lambda: target("magface", 1.0, norm=1000.0), math.cos(0.8)),
    (lambda: target("magface", -0.5, norm=60.0), -0.5),  # easy margin
    (lambda: losses.get("magface").penalty(110.0)[0], 35 * 2 / 110),
    (lambda: losses.get("magface").penalty(1.0)[0], 35 * (10 / 110**2 + 1 / 10)),
]

FILE = "losses.magface"
MUTANTS = [
    Mutant(FILE, "magface", "(a - spec.l_a)", "(a - spec.u_a)"),
    Mutant(FILE, "magface", "slope * spec.margin_slope * inside", "slope * 0 * inside"),
    Mutant(FILE, "magface", "slope * spec.margin_slope * inside", "slope * spec.margin_slope"),
    Mutant(FILE, "magface", "a / highest**2 + 1 / a,", "1 / a,"),
    Mutant(FILE, "magface", "1 / a**2) * inside", "1 / a**2)"),
    Mutant(FILE, "magface", "return self.spec.lambda_g *", "return 20 *"),
]
