"""The parameters of all losses, for type checkers: what a head takes beside a loss's name."""

from __future__ import annotations

from typing import TypedDict

from marginface.losses.values import Gradient, PastPi


class LossParameters(TypedDict, total=False):
    """Parameters by name; which of them a loss has, and their ranges, it says itself."""

    scale: float
    margin: float
    gradient: Gradient
    past_pi: PastPi
    lambda_base: float
    lambda_min: float
    gamma: float
    alpha: float
    t: float
    lw: float
    easy_margin: bool
    m1: float
    m2: float
    m3: float
    centers: int
    l_a: float
    u_a: float
    l_margin: float
    u_margin: float
    lambda_g: float
    h: float
    t_alpha: float
    eps: float
    std: float
    assignment: str
    negative_weight: float
    clamp: bool
    a: float
    k: float
    share: float
    start_step: int
    window: int
    pair_margin: float
    start: float
    pull: float
    b: float
    m0: float
    threshold_margin: float
    scale_from: str
    margin_where: str
    sigma: float
    weight_gradient: str
