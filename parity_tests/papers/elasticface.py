"""ElasticFace, 2109.09416."""

import math

from papers import Batch, Mutant, Sample, margin_angle, scaled_softmax, target


def arc(loss, at: Sample):
    return scaled_softmax(loss, margin_angle(at.cosine, at.own["margin"], loss.past_pi), at.others)


def cos(loss, at: Sample):
    return scaled_softmax(loss, at.cosine - at.own["margin"], at.others)


def drawn(loss, batch: Batch):
    return [{"margin": m} for m in batch.draw["margin"]], {}


def given_out(loss, batch: Batch):
    count = len(batch.cosines)
    order = sorted(range(count), key=lambda i: -batch.cosines[i])
    rank = {sample: place for place, sample in enumerate(order)}
    rising = sorted(batch.draw["margin"])
    places = order if loss.assignment == "released" else [rank[i] for i in range(count)]
    return [{"margin": rising[place]} for place in places], {}


FORMULAS = {
    "elasticface_arc": arc,
    "elasticface_arc_plus": arc,
    "elasticface_cos": cos,
    "elasticface_cos_plus": cos,
}
CONSTANTS = {
    "elasticface_arc": drawn,
    "elasticface_arc_plus": given_out,
    "elasticface_cos": drawn,
    "elasticface_cos_plus": given_out,
}
BY_HAND = [
    (lambda: target("elasticface_arc", 0.0, prepared={"margin": 0.3}), -math.sin(0.3)),
    (lambda: target("elasticface_cos", 0.0, prepared={"margin": 0.3}), -0.3),
]

FILE = "losses.elasticface"
MUTANTS = [
    Mutant(FILE, "elasticface_cos", 'cosines - prepared["margin"]', "cosines - 0.35"),
    Mutant(FILE, "elasticface_arc", '1.0, prepared["margin"]', "1.0, self.spec.margin"),
    Mutant(
        FILE,
        "elasticface_arc_plus",
        ("descending=True", '"DESCENDING"'),
        ("descending=False", '"ASCENDING"'),
    ),
    Mutant(FILE, "elasticface_arc_plus", 'assignment == "released"', "std > 0"),
]
