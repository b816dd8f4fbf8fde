"""SphereFace, 1704.08063, and SphereFace-R, 2109.05565."""

import math

from mpmath import acos, cos, mpf

from papers import (
    Batch,
    Mutant,
    Sample,
    multiplied_angle,
    negative,
    scaled_softmax,
    softmax_loss,
    target,
)


def sphereface(loss, at: Sample):
    s, annealing = mpf(loss.scale), at.own["annealing"]
    psi = multiplied_angle(at.cosine, mpf(loss.margin), loss.past_pi)
    logit = (annealing * at.cosine + psi) / (1 + annealing)
    return softmax_loss(s * at.length * logit, [s * at.length * n for n in at.others])


def annealed(loss, batch: Batch):
    step = batch.state["step"] + 1
    value = max(mpf(loss.lambda_min), loss.lambda_base / (1 + mpf(loss.gamma) * step))
    return [{"annealing": value}] * len(batch.cosines), {"step": step}


def sphereface_r_v1(loss, at: Sample):
    logit = multiplied_angle(at.cosine, mpf(loss.margin), loss.past_pi)
    return scaled_softmax(loss, logit, at.others)


def sphereface_r_v2(loss, at: Sample):
    return scaled_softmax(loss, at.cosine, [cos(acos(n) / mpf(loss.margin)) for n in at.others])


FORMULAS = {
    "sphereface": sphereface,
    "sphereface_r_v1": sphereface_r_v1,
    "sphereface_r_v2": sphereface_r_v2,
}
CONSTANTS = {"sphereface": annealed}

ROOT = math.sqrt(0.5)
BY_HAND = [
    # theta = pi / 3, 4 theta = 4 pi / 3, k = 1: psi = 1/2 - 2; with lambda = 5: (5/2 - 3/2) / 6
    (lambda: target("sphereface", 0.5, prepared={"annealing": 5.0}), 1 / 6),
    (lambda: target("sphereface_r_v1", 0.0, margin=1.5), -ROOT),
    (lambda: target("sphereface_r_v1", -0.5, margin=2.0), -1.0),  # 4 pi / 3 stops at pi
    (lambda: target("sphereface_r_v2", 0.3), 0.3),
    (lambda: negative("sphereface_r_v2", 0.0, margin=2.0), ROOT),
]

FILE = "losses.sphereface"
MUTANTS = [
    Mutant(FILE, "sphereface", '{"step": step}', '{"step": state["step"]}'),
    Mutant(FILE, "sphereface", 'state["step"] + 1', 'state["step"] + 2'),
    Mutant(FILE, "sphereface", "self.spec.gamma *", "2 * self.spec.gamma *"),
    Mutant(
        FILE,
        "sphereface",
        ("falling.clamp(min=self.spec.lambda_min)", "tf.maximum(falling, self.spec.lambda_min)"),
        ("falling", "falling"),
    ),
    Mutant(FILE, "sphereface", "cosines + psi) / (1 + annealing)", "cosines + psi)"),
    Mutant(
        FILE,
        "sphereface_r_v2",
        ("angle(cosines).div_(self.spec.margin)", "angles_to_all(cosines) / self.spec.margin"),
        ("angle(cosines)", "angles_to_all(cosines)"),
    ),
    Mutant(FILE, "sphereface_r_v2", "/ self.spec.margin * inverse_sine", "* inverse_sine"),
]
