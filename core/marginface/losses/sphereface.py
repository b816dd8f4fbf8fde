"""SphereFace (A-Softmax) and its two successors with a multiplied angle, SphereFace-R."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from marginface.losses.angular import GRADIENTS, AngularLoss
from marginface.losses.base import (
    MIN_SINE,
    Arrays,
    Float,
    Gradient,
    Logit,
    MarginLoss,
    Numbers,
    PastPi,
)


@dataclass(frozen=True, kw_only=True)
class SphereFace(AngularLoss):
    """SphereFace, A-Softmax (1704.08063, eq. 7): a multiplied angle, annealed.

    target logit = scale * |x| * (lambda cos(theta) + psi(theta)) / (1 + lambda)
    psi(theta) = (-1)^k cos(margin theta) - 2k, k = floor(margin theta / pi)
    logit_j = scale * |x| * cos(theta_j)
    lambda = max(lambda_min, lambda_base / (1 + gamma step))

    Embeddings keep their norm, through which gradient flows. The step counts calls in training,
    from 1, and is the loss's state.

    In the wild:
        - The authors' Caffe layer normalises its gradient; gradient="exact" is the formula's.
        - A much used PyTorch port anneals with lambda_base=1500, gamma=0.1.
        - Ports keep the counter on the module, where no checkpoint saves it: a resumed run starts
          annealing again.

    Args:
        scale: multiplies all logits, > 0; 1 is the paper's.
        margin: multiplies the target angle, >= 1.
        lambda_base: where lambda starts, >= 0.
        lambda_min: where it ends, >= 0.
        gamma: how fast it falls, >= 0.
        gradient: "exact" or "straight_through", d psi / d cos = 1.
        past_pi: past margin theta = pi "monotone" is psi, "clip" -1, "none" cos(margin theta).

    >>> SphereFace().target(1.0, 1.0, {"annealing": 5.0}).value
    1.0
    """

    name: ClassVar[str] = "sphereface"
    norm_scaled: ClassVar[bool] = True

    scale: float = 1.0
    margin: float = 4.0
    lambda_base: float = 1000.0
    lambda_min: float = 5.0
    gamma: float = 0.12
    gradient: Gradient = "exact"
    past_pi: PastPi = "monotone"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(
            "margin", 1 <= self.margin < math.inf, "at least 1 (below, a larger angle is rewarded)"
        )
        for parameter in ("lambda_base", "lambda_min", "gamma"):
            self._require(parameter, 0 <= getattr(self, parameter) < math.inf, "at least 0")

    def initial_state(self) -> dict[str, NDArray[Any]]:
        """Return the number of steps taken, 0."""
        return {"step": np.array(0, np.int64)}

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return lambda as `annealing`, and the next step."""
        step = state["step"] + 1
        annealing = max(self.lambda_min, self.lambda_base / (1 + self.gamma * float(step)))
        return {"annealing": np.full(len(cosines), annealing)}, {"step": step}

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return (lambda cos(theta) + psi(theta)) / (1 + lambda)."""
        annealing = prepared["annealing"]
        psi, _ = self._angular(cosine, self.margin, 0.0)
        return Logit(
            (annealing * cosine + psi.value) / (1 + annealing),
            (annealing + psi.slope) / (1 + annealing),
        )


@dataclass(frozen=True, kw_only=True)
class SphereFaceRV1(AngularLoss):
    """SphereFace-R v1 (2109.05565): a multiplied target angle that stops at pi.

    target logit = scale * cos(min(margin theta, pi))

    The default gradient is the paper's "characteristic gradient detachment", which the authors'
    code trains with: d target / d cos = scale.

    Args:
        scale: radius of the hypersphere, > 0.
        margin: multiplies the target angle, >= 1.
        gradient: "straight_through" or "exact", the formula's derivative.
        past_pi: "clip" is the formula; "monotone" SphereFace's psi; "none" cos(margin theta).

    >>> SphereFaceRV1(margin=1.5).target(-1.0, 1.0, {}).value
    -1.0
    """

    name: ClassVar[str] = "sphereface_r_v1"

    scale: float = 30.0
    margin: float = 1.5
    gradient: Gradient = "straight_through"
    past_pi: PastPi = "clip"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(
            "margin", 1 <= self.margin < math.inf, "at least 1 (below, a larger angle is rewarded)"
        )

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(min(margin theta, pi))."""
        return self._angular(cosine, self.margin, 0.0)[0]


@dataclass(frozen=True, kw_only=True)
class SphereFaceRV2(MarginLoss):
    """SphereFace-R v2 (2109.05565): the other classes' angles are divided instead.

    target logit = scale * cos(theta)
    logit_j = scale * cos(theta_j / margin)

    The default gradient is the paper's "characteristic gradient detachment", which the authors'
    code trains with: d logit_j / d cos = scale.

    Args:
        scale: radius of the hypersphere, > 0.
        margin: divides the angles to the other classes, >= 1.
        gradient: "straight_through" or "exact", the formula's derivative.

    >>> SphereFaceRV2(margin=2.0).negative(0.0, {}).value == math.cos(math.pi / 4)
    True
    """

    name: ClassVar[str] = "sphereface_r_v2"

    scale: float = 60.0
    margin: float = 1.4
    gradient: Gradient = "straight_through"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_one_of("gradient", GRADIENTS)
        self._require(
            "margin", 1 <= self.margin < math.inf, "at least 1 (below, a larger angle is rewarded)"
        )

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta)."""
        return Logit(cosine, 1.0)

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return cos(theta_j / margin)."""
        theta = math.acos(min(max(cosine, -1.0), 1.0))
        exact = math.sin(theta / self.margin) / (self.margin * max(math.sin(theta), MIN_SINE))
        slope = exact if self.gradient == "exact" else 1.0
        return Logit(math.cos(theta / self.margin), slope)
