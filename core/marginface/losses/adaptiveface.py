"""AdaptiveFace: a learned margin for each class."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marginface.losses.base import Curve, MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Float, Logit, Numbers


@dataclass(frozen=True, kw_only=True)
class AdaptiveFace(MarginLoss):
    """AdaptiveFace (CVPR 2019): CosFace with a learned margin for each class, AdaM-Softmax.

    loss = CosFace's + pull (1 - mean m)
    target logit = scale * (cos(theta) - m_y)             m_y: the margin of the sample's class

    The last term pulls all margins up; samples that would then cost more pull their own down. So a
    class of many and easy images comes to a larger margin than one of few. The margins are the
    head's bias, [num_classes], and stay in [0, 1]: they are put back before each use. With a sample
    of the classes the mean is the sample's, so that its expectation is that of all.

    In the wild:
        - There is no code of the authors'. FaceX-Zoo's starts the margins at random between 0.3 and
          0.4, here at 0.35.
        - FaceX-Zoo's lambda is 70, a reader of the paper reports 10 as the paper's: pull.
        - Its weight decay is on the margins, too; here it is on no margin.
        - A mean over the batch's classes alone, as in ports, lets margins fall to 0.

    >>> AdaptiveFace().target(0.5, 1.0, {"margin": 0.25}).value
    0.25
    """

    name: ClassVar[str] = "adaptiveface"
    panel: ClassVar[str] = "For each class"

    scale: float = parameter(30.0, above=0, help="radius of the hypersphere")
    start: float = parameter(0.35, low=0, high=1, help="every class's margin at first")
    pull: float = parameter(70.0, low=0, help="lambda, of the term that makes margins grow")

    @property
    def margin_pull(self) -> float:
        """Lambda."""
        return self.pull

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the target of classes with a small and a large margin."""
        return [Curve(cls(), f", m = {m:g}", 1.0, {"margin": m}) for m in (0.2, 0.6)]

    def initial_bias(self, num_classes: int) -> Float:
        """Return the margins at first, [num_classes]."""
        return np.full(num_classes, self.start)

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta) - the class's margin."""
        return Logit(cosine - prepared["margin"], 1.0, margin_slope=-1.0)
