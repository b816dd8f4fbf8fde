"""UniFace, ICCV 2023."""

from mpmath import mpf

from papers import Mutant, Sample, clip, softplus, target


def uniface(loss, at: Sample):
    s = mpf(loss.scale)
    own, others = s * (at.cosine - mpf(loss.margin)) + at.bias, [s * n + at.bias for n in at.others]
    if loss.clamp:
        own, others = clip(own, -s, s), [clip(each, -s, s) for each in others]
    return softplus(-own) + loss.negative_weight * sum(softplus(each) for each in others)


FORMULAS = {"uniface": uniface}
BY_HAND = [(lambda: target("uniface", 0.9), 0.5)]

FILE = "losses.uniface"
MUTANTS = [
    Mutant(
        FILE,
        "uniface",
        ("softplus(-target, threshold=40)", "tf.nn.softplus(-target)"),
        ("softplus(target, threshold=40)", "tf.nn.softplus(target)"),
    ),
    Mutant(FILE, "uniface", "self.spec.negative_weight * others", "2.0 * others"),
]
