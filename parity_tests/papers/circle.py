"""Circle loss, 2002.10857."""

from mpmath import mpf

from papers import Mutant, Sample, negative, scaled_softmax, target


def circle(loss, at: Sample):
    m, c = mpf(loss.margin), at.cosine
    others = [max(n + m, 0) * (n - m) for n in at.others]
    return scaled_softmax(loss, max(1 + m - c, 0) * (c - (1 - m)), others)


FORMULAS = {"circle": circle}
BY_HAND = [
    (lambda: target("circle", 0.5), 0.75 * -0.25),
    (lambda: negative("circle", 0.5), 0.75 * 0.25),
    (lambda: negative("circle", -0.5), 0.0),
]

FILE = "losses.circle"
MUTANTS = [
    Mutant(FILE, "circle", "1 + margin - c", "1 - margin - c"),
    Mutant(FILE, "circle", "(c - (1 - margin))", "(c - margin)"),
    Mutant(
        FILE,
        "circle",
        ("(c - margin).mul_", "weight * (c - margin)"),
        ("(c + margin).mul_", "weight * (c + margin)"),
    ),
    Mutant(FILE, "circle", '== "detached"', '!= "detached"'),
]
