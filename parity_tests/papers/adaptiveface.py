"""AdaptiveFace, CVPR 2019, as FaceX-Zoo has it."""

from mpmath import mpf

from papers import Mutant, Sample, clip, scaled_softmax, target


def adaptiveface(loss, at: Sample):
    margins = [clip(each, 0, 1) for each in (at.bias, *at.biases)]
    mean = sum(margins) / len(margins)
    return scaled_softmax(loss, at.cosine - margins[0], at.others) + mpf(loss.pull) * (1 - mean)


FORMULAS = {"adaptiveface": adaptiveface}
BY_HAND = [(lambda: target("adaptiveface", 0.75, prepared={"margin": 0.25}), 0.5)]

FILE = "losses.adaptiveface"
MUTANTS = [Mutant(FILE, "adaptiveface", 'cosines - prepared["margin"]', "cosines")]
