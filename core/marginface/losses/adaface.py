"""AdaFace: an angular and an additive margin that follow the norm, as a proxy of quality."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from marginface.losses.base import Curve, MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import MIN_SINE, Arrays, Float, Gradient, Logit, Numbers

NORM_RANGE = (1e-3, 100.0)  # norms outside are taken as these
STD_OFFSET = 1e-3  # keeps the standard deviation away from 0


@dataclass(frozen=True, kw_only=True)
class AdaFace(MarginLoss):
    """AdaFace (2204.00964): hard samples count more if the embedding's norm indicates a good
    image.

    target logit = scale * (cos(theta - margin k) - (margin + margin k))
    k = clip(h (|x| - mu) / (sigma + 0.001), -1, 1)

    mu and sigma are the running mean and standard deviation (unbiased) of the norms. They are the
    loss's state: they start at 20 and 100, and each batch enters them with weight t_alpha before
    they are used. No gradient flows through k. A batch of one sample has no deviation and leaves
    sigma alone.

    In the wild:
        - The authors' class has t_alpha = 1.0; their command line has 0.01, the default here.
        - Their code keeps every cosine in +-(1 - eps), also those of the other classes, and the
          target angle in eps .. pi - eps; the paper does not. The default is the code's value,
          with which the published models were trained; eps = 0 is the paper's formula.
        - In their data-parallel training each process keeps statistics of its own; here they
          cover the whole batch.

    >>> round(AdaFace(eps=0.0).target(0.0, 1.0, {"quality": 0.0}).value, 6)
    -0.4
    """

    name: ClassVar[str] = "adaface"
    panel: ClassVar[str] = "Norm as quality"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(
        0.4, low=0, below=1, help="size of both margins, on the angle and on the cosine"
    )
    h: float = parameter(0.333, low=0, help="how strongly the norm counts")
    t_alpha: float = parameter(
        0.01, above=0, high=1, help="weight of a new batch in the running statistics"
    )
    eps: float = parameter(
        1e-3, low=0, below=0.5, help="keeps cosines and angles off their ends; 0 in the paper"
    )
    gradient: Gradient = parameter(
        "exact", help="`exact`, or `straight_through`, d target / d cos = scale"
    )
    past_pi: Literal["clip", "none"] = parameter(
        "clip", help="`clip` keeps the target angle in eps .. pi - eps; `none` does not"
    )

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the target at the worst, a middling and the best quality."""
        return [Curve(cls(), f", k = {k:+g}", prepared={"quality": k}) for k in (-1.0, 0.0, 1.0)]

    def initial_state(self, num_classes: int) -> dict[str, NDArray[Any]]:
        """Return the running statistics of the norms: mean 20, standard deviation 100."""
        return {"mean": np.array(20.0), "std": np.array(100.0)}

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return k as `quality`, and the statistics with this batch in them."""
        safe = norms.clip(*NORM_RANGE)
        mean = self.t_alpha * safe.mean() + (1 - self.t_alpha) * state["mean"]
        std = state["std"]
        if len(safe) > 1:
            std = self.t_alpha * safe.std(ddof=1) + (1 - self.t_alpha) * std
        quality = (self.h * (safe - mean) / (std + STD_OFFSET)).clip(-1.0, 1.0)
        return {"quality": quality}, {"mean": np.array(mean), "std": np.array(std)}

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta - margin k) - (margin + margin k)."""
        clipped = self._kept(cosine)
        shift = self.margin * prepared["quality"]
        theta = math.acos(clipped.value)
        angle, slope = theta - shift, clipped.slope
        if self.past_pi == "clip":
            inside = self.eps <= angle <= math.pi - self.eps
            angle, slope = min(max(angle, self.eps), math.pi - self.eps), slope * inside
        slope *= math.sin(angle) / max(math.sin(theta), MIN_SINE)
        value = math.cos(angle) - (self.margin + shift)
        return Logit(value, slope if self.gradient == "exact" else 1.0)

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return the cosine, kept in +-(1 - eps)."""
        return self._kept(cosine)

    def _kept(self, cosine: float) -> Logit:
        limit = 1 - self.eps
        return Logit(min(max(cosine, -limit), limit), float(abs(cosine) <= limit))
