"""CurricularFace, 2004.00288."""

from mpmath import acos, cos, mpf

from papers import Batch, Mutant, Sample, margin_angle, negative, scaled_softmax


def curricularface(loss, at: Sample):
    m, t = mpf(loss.margin), at.own["t"]
    limit = cos(acos(at.cosine) + m)
    others = [n if n <= limit else n * (t + n) for n in at.others]
    return scaled_softmax(loss, margin_angle(at.cosine, m, loss.past_pi), others)


def running_mean(loss, batch: Batch):
    alpha, count = mpf(loss.alpha), len(batch.cosines)
    t = alpha * sum(batch.cosines) / count + (1 - alpha) * batch.state["t"]
    return [{"t": t}] * count, {"t": t}


FORMULAS = {"curricularface": curricularface}
CONSTANTS = {"curricularface": running_mean}
BY_HAND = [
    (lambda: negative("curricularface", 0.5, {"t": 0.2, "threshold": 0.4}), 0.35),
    (lambda: negative("curricularface", 0.5, {"t": 0.2, "threshold": 0.6}), 0.5),
]

FILE = "losses.curricularface"
MUTANTS = [
    Mutant(FILE, "curricularface", '{"t": t}\n', '{"t": state["t"]}\n'),
    Mutant(FILE, "curricularface", "(t + cosines)", "(1 + t + cosines)"),
    Mutant(FILE, "curricularface", "cosines > threshold", "cosines < threshold"),
    Mutant(FILE, "curricularface", '(1 - alpha) * state["t"]', 'state["t"]'),
]
