"""SphereFace (A-Softmax) and its two successors with a multiplied angle, SphereFace-R."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from marginface.losses.angular import AngularLoss
from marginface.losses.base import Curve, MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import MIN_SINE, Arrays, Float, Gradient, Logit, Numbers, PastPi


@dataclass(frozen=True, kw_only=True)
class SphereFace(AngularLoss):
    """SphereFace, A-Softmax (1704.08063, eq. 7): a multiplied angle, annealed.

    target logit = scale * |x| * (lambda cos(theta) + psi(theta)) / (1 + lambda)
    psi(theta) = (-1)^k cos(margin theta) - 2k, k = floor(margin theta / pi)
    logit_j = scale * |x| * cos(theta_j)
    lambda = max(lambda_min, lambda_base / (1 + gamma step))

    Embeddings keep their norm, and gradient flows through it. The step counts calls in training,
    from 1; it is the loss's state.

    In the wild:
        - The authors' Caffe layer normalises its gradient; gradient="exact" is the formula's.
        - A widely used PyTorch port anneals with lambda_base=1500, gamma=0.1.
        - Ports keep the counter on the module, where no checkpoint saves it, so a resumed run
          starts annealing again.

    >>> SphereFace().target(1.0, 1.0, {"annealing": 5.0}).value
    1.0
    """

    name: ClassVar[str] = "sphereface"
    norm_scaled: ClassVar[bool] = True
    panel: ClassVar[str] = "Multiplied angles"

    scale: float = parameter(1.0, above=0, help="multiplies all logits; 1 is the paper's")
    margin: float = parameter(
        4.0, low=1, why="below, a larger angle is rewarded", help="multiplies the target angle"
    )
    lambda_base: float = parameter(1000.0, low=0, help="where lambda starts")
    lambda_min: float = parameter(5.0, low=0, help="where lambda ends")
    gamma: float = parameter(0.12, low=0, help="how fast lambda falls")
    gradient: Gradient = parameter("exact", help="`exact` or `straight_through`, d psi / d cos = 1")
    past_pi: PastPi = parameter(
        "monotone",
        help="past margin theta = pi `monotone` and `mirror` are psi, `clip` is -1, `none` "
        "cos(margin theta)",
    )

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the start and the end of the annealing."""
        ends = {", start": 1000.0, ", end": 5.0}
        return [Curve(cls(), text, prepared={"annealing": value}) for text, value in ends.items()]

    def initial_state(self, num_classes: int) -> dict[str, NDArray[Any]]:
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

    The default gradient is the paper's "characteristic gradient detachment", with which the
    authors' code trains: d target / d cos = scale.

    In the wild:
        - The authors' code (opensphere) multiplies the loss by lw / scale, lw = 50: with the
          defaults here, by 5 / 3.

    >>> SphereFaceRV1(margin=1.5).target(-1.0, 1.0, {}).value
    -1.0
    """

    name: ClassVar[str] = "sphereface_r_v1"
    panel: ClassVar[str] = "Multiplied angles"
    shows_boundary: ClassVar[bool] = True

    scale: float = parameter(30.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(
        1.5, low=1, why="below, a larger angle is rewarded", help="multiplies the target angle"
    )
    gradient: Gradient = parameter(
        "straight_through", help="`straight_through` or `exact`, the formula's derivative"
    )
    past_pi: PastPi = parameter(
        "clip",
        help="`clip` is the formula; `monotone` and `mirror` SphereFace's psi; `none` "
        "cos(margin theta)",
    )

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(min(margin theta, pi))."""
        return self._angular(cosine, self.margin, 0.0)[0]


@dataclass(frozen=True, kw_only=True)
class SphereFaceRV2(MarginLoss):
    """SphereFace-R v2 (2109.05565): the other classes' angles are divided instead.

    target logit = scale * cos(theta)
    logit_j = scale * cos(theta_j / margin)

    The default gradient is the paper's "characteristic gradient detachment", with which the
    authors' code trains: d logit_j / d cos = scale.

    In the wild:
        - The authors' code (opensphere) multiplies the loss by lw / scale, lw = 50: with the
          defaults here, by 5 / 6.

    >>> SphereFaceRV2(margin=2.0).negative(0.0, {}).value == math.cos(math.pi / 4)
    True
    """

    name: ClassVar[str] = "sphereface_r_v2"
    panel: ClassVar[str] = "Multiplied angles"

    scale: float = parameter(60.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(
        1.4,
        low=1,
        why="below, a larger angle is rewarded",
        help="divides the angles to the other classes",
    )
    gradient: Gradient = parameter(
        "straight_through", help="`straight_through` or `exact`, the formula's derivative"
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
