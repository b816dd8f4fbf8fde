"""ElasticFace: a margin drawn anew for every sample."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from marginface.losses.angular import AngularLoss
from marginface.losses.base import Curve, MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Arrays, Float, Gradient, Logit, Numbers, PastPi

Assignment = Literal["sorted", "released"]


@dataclass(frozen=True, kw_only=True)
class ElasticFaceArc(AngularLoss):
    """ElasticFace-Arc (2109.09416): ArcFace with a drawn margin.

    target logit = scale * cos(theta + m_i), m_i ~ N(margin, std)

    `draw` draws the margins, so that all frameworks use the same.

    >>> ElasticFaceArc(std=0.0).draw(np.random.default_rng(0), 2)["margin"].tolist()
    [0.5, 0.5]
    """

    name: ClassVar[str] = "elasticface_arc"
    draws: ClassVar[tuple[str, ...]] = ("margin",)
    panel: ClassVar[str] = "Drawn margins"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(0.5, low=0, below=math.pi, unit="radians", help="mean of the margins")
    std: float = parameter(0.05, low=0, help="standard deviation of the margins")
    gradient: Gradient = parameter(
        "exact", help="`exact`, or `straight_through`, d target / d cos = scale"
    )
    past_pi: PastPi = parameter(
        "monotone", help="`monotone`, `mirror`, `clip`, or `none`, which is the authors' code"
    )

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the target at the mean margin, and two deviations beside it."""
        return _around_the_mean(cls())

    def draw(self, rng: np.random.Generator, batch: int) -> dict[str, NDArray[Any]]:
        """Draw a margin for every sample."""
        return {"margin": rng.normal(self.margin, self.std, batch)}

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return the drawn margins as they are."""
        return {"margin": np.asarray(draw["margin"], np.float64)}, {}

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta + m_i)."""
        return self._angular(cosine, 1.0, prepared["margin"])[0]


@dataclass(frozen=True, kw_only=True)
class ElasticFaceArcPlus(ElasticFaceArc):
    """ElasticFace-Arc+ (2109.09416): larger drawn margins go to the farther samples.

    target logit = scale * cos(theta + m_i), m_i ~ N(margin, std), sorted by theta

    In the wild:
        - The released code means to sort, but it indexes the sorted margins by the order of the
          cosines instead of scattering them by it. So sample i gets the margin whose rank is the
          number of the sample at place i in that order. assignment="released" does the same; the
          default does what the paper says.

    >>> loss = ElasticFaceArcPlus()
    >>> cosines, draw = np.array([0.1, 0.9]), {"margin": np.array([0.4, 0.6])}
    >>> loss.prepare(cosines, np.ones(2), {}, draw)[0]["margin"].tolist()
    [0.6, 0.4]
    """

    name: ClassVar[str] = "elasticface_arc_plus"

    std: float = parameter(0.0175, low=0, help="standard deviation of the margins")
    assignment: Assignment = parameter(
        "sorted", help="`sorted`, the paper's, or `released`, the code's"
    )

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return the drawn margins, given out by the target cosines."""
        return {"margin": _give_out(draw["margin"], cosines, self.assignment)}, {}


@dataclass(frozen=True, kw_only=True)
class ElasticFaceCos(MarginLoss):
    """ElasticFace-Cos (2109.09416): CosFace with a drawn margin.

    target logit = scale * (cos(theta) - m_i), m_i ~ N(margin, std)

    >>> ElasticFaceCos().target(0.5, 1.0, {"margin": 0.25}).value
    0.25
    """

    name: ClassVar[str] = "elasticface_cos"
    draws: ClassVar[tuple[str, ...]] = ("margin",)
    panel: ClassVar[str] = "Drawn margins"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(0.35, low=0, below=2, help="mean of the margins")
    std: float = parameter(0.05, low=0, help="standard deviation of the margins")

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the target at the mean margin, and two deviations beside it."""
        return _around_the_mean(cls())

    def draw(self, rng: np.random.Generator, batch: int) -> dict[str, NDArray[Any]]:
        """Draw a margin for every sample."""
        return {"margin": rng.normal(self.margin, self.std, batch)}

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return the drawn margins as they are."""
        return {"margin": np.asarray(draw["margin"], np.float64)}, {}

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta) - m_i."""
        return Logit(cosine - prepared["margin"], 1.0)


@dataclass(frozen=True, kw_only=True)
class ElasticFaceCosPlus(ElasticFaceCos):
    """ElasticFace-Cos+ (2109.09416): larger drawn margins go to the farther samples.

    target logit = scale * (cos(theta) - m_i), m_i ~ N(margin, std), sorted by theta

    In the wild:
        - As with elasticface_arc_plus, the released code assigns the margins in another order.

    >>> ElasticFaceCosPlus().std
    0.02
    """

    name: ClassVar[str] = "elasticface_cos_plus"

    std: float = parameter(0.02, low=0, help="standard deviation of the margins")
    assignment: Assignment = parameter(
        "sorted", help="`sorted`, the paper's, or `released`, the code's"
    )

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return the drawn margins, given out by the target cosines."""
        return {"margin": _give_out(draw["margin"], cosines, self.assignment)}, {}


def _around_the_mean(loss: ElasticFaceArc | ElasticFaceCos) -> list[Curve]:
    margins = {sign: loss.margin + sign * loss.std for sign in (-2, 0, 2)}
    return [
        Curve(loss, f", {sign:+d} std" if sign else "", prepared={"margin": margin})
        for sign, margin in margins.items()
    ]


def _give_out(drawn: NDArray[Any], cosines: Float, assignment: Assignment) -> Float:
    """Assign the smallest margin to the largest cosine and so on; ties keep their order."""
    margins = sorted(float(margin) for margin in drawn)
    order = sorted(range(len(cosines)), key=lambda i: -cosines[i])
    assigned = np.zeros(len(cosines))
    for place, sample in enumerate(order):
        if assignment == "sorted":
            assigned[sample] = margins[place]
        else:
            assigned[place] = margins[sample]
    return assigned
