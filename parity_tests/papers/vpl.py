"""VPL, CVPR 2021."""

from mpmath import mpf

from papers import Batch, Mutant, Sample, margin_angle, norm, scaled_softmax, target


def vpl(loss, at: Sample):
    own = margin_angle(at.cosine, mpf(loss.margin), loss.past_pi)
    return scaled_softmax(loss, own, at.others)


def mixed(loss, weights, state):
    now, vectors = state["step"] + 1, []
    for w, latest, seen in zip(weights, state["latest"], state["seen"], strict=True):
        recent = seen > 0 and now - seen <= loss.window and now > loss.start_step
        share = mpf(loss.share) if recent else mpf(0)
        length = norm(w)
        vectors.append(
            [(1 - share) * a / length + share * b for a, b in zip(w, latest, strict=True)]
        )
    return vectors


def kept(loss, batch: Batch):
    step = batch.state["step"] + 1
    latest, seen = [list(row) for row in batch.state["latest"]], list(batch.state["seen"])
    for x, y in zip(batch.embeddings, batch.labels, strict=True):
        latest[y], seen[y] = [value / norm(x) for value in x], step
    return [{}] * len(batch.labels), {"step": step, "latest": latest, "seen": seen}


FORMULAS = {"vpl": vpl}
CONSTANTS = {"vpl": kept}
VECTORS = {"vpl": mixed}
BY_HAND = [(lambda: target("vpl", 0.0, margin=0.5), -0.479425538604203)]

FILE = "losses.vpl"
MUTANTS = [
    Mutant(FILE, "vpl", "step > self.spec", "step >= self.spec"),
    Mutant(FILE, "vpl", "seen > 0", "seen >= 0"),
    Mutant(FILE, "vpl", "step - seen <= self.spec.window", "step - seen < self.spec.window"),
    Mutant(FILE, "vpl", 'state["step"] + 1, rows', 'state["step"], rows'),
    Mutant(FILE, "vpl", " * self.spec.share", " * 0.5 * self.spec.share"),
    Mutant(FILE, "vpl", "self.spec.margin)[0]", "-self.spec.margin)[0]"),
]
