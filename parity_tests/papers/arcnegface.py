"""ArcNegFace, 1909.00632."""

import math

from mpmath import exp, mpf

from marginface import losses
from papers import Batch, Mutant, Sample, margin_angle, negative, scaled_softmax, target


def arcnegface(loss, at: Sample):
    a, alpha, sigma = at.own["a"], mpf(loss.alpha), mpf(loss.sigma)
    others = [alpha * (n + 1) / exp((n - a) ** 2 / sigma) - 1 for n in at.others]
    return scaled_softmax(loss, margin_angle(at.cosine, mpf(loss.margin), loss.past_pi), others)


def own_logit(loss, batch: Batch):
    m = mpf(loss.margin)
    return [{"a": margin_angle(c, m, loss.past_pi)} for c in batch.cosines], {}


def slope(**values: str) -> float:
    return losses.get("arcnegface", **values).negative(0.5, {"a": -0.5}).slope


W = 1.2 * math.exp(-1 / 2)  # at a distance of 1
FORMULAS = {"arcnegface": arcnegface}
CONSTANTS = {"arcnegface": own_logit}
BY_HAND = [
    (lambda: target("arcnegface", 0.0), -math.sin(0.5)),
    (lambda: negative("arcnegface", 0.5, {"a": -0.5}), W * 1.5 - 1),
    (lambda: negative("arcnegface", -1.0, {"a": 0.3}), -1.0),
    (slope, W),
    (lambda: slope(weight_gradient="exact"), W * (1 - 1.5)),
]

FILE = "losses.arcnegface"
MUTANTS = [
    Mutant(FILE, "arcnegface", '"a": self.target(cosines, norms, {})', '"a": cosines'),
    Mutant(FILE, "arcnegface", "1.0, self.spec.margin)", "1.0, 0.0)"),
    Mutant(FILE, "arcnegface", 'c - prepared["a"]', 'c + prepared["a"]'),
    Mutant(FILE, "arcnegface", "-1 / spec.sigma", "-0.5 / spec.sigma"),
    Mutant(FILE, "arcnegface", "-1 / spec.sigma", "-1 / spec.sigma**2"),
    Mutant(FILE, "arcnegface", (".mul_(spec.alpha)", "spec.alpha * tf.exp"), ("", "tf.exp")),
    Mutant(
        FILE, "arcnegface", ("mul_(weight).sub_(1)", "* weight - 1"), ("mul_(weight)", "* weight")
    ),
    Mutant(FILE, "arcnegface", "value = (c + 1)", "value = c"),
    Mutant(FILE, "arcnegface", '== "detached"', '!= "detached"'),
    Mutant(FILE, "arcnegface", "2 / spec.sigma", "1 / spec.sigma"),
    Mutant(FILE, "arcnegface", "weight * (1 - fall)", "weight * (1 + fall)"),
]
