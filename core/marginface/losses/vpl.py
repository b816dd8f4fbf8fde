"""VPL: class weights lean to the latest embedding of their class."""

import math
from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.angular import AngularLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.latest import LatestEmbedding
from marginface.losses.values import Arrays, Gradient, Logit, Memory, Numbers, PastPi


@dataclass(frozen=True, kw_only=True)
class VPL(LatestEmbedding, AngularLoss):
    """VPL (CVPR 2021): ArcFace whose class vectors lean to the class's latest embedding.

    cos(theta_j) = x . v_j / |v_j|
    v_j = (1 - l) w_j / |w_j| + l q_j                     q_j: the latest embedding of class j
    l = share                  where step > start_step, and class j was seen within window steps
    l = 0                      elsewhere
    target logit = scale * cos(theta + margin)

    So a class is compared with real images of it as well: "variational prototypes". q_j has length
    1 and gets no gradient. A step does not see its own embeddings, and of several images of a class
    the last in the batch counts. With the default of 8,000 steps before the first, short runs are
    ArcFace's: give a smaller start_step.

    In the wild:
        - The released code starts q_j as random vectors that count as seen at step 0. Here a class
          that was not seen has none. The two differ only if start_step is less than window.
        - It does not save the memory, and refuses samples of classes; here both are possible.
        - Which of several images of a class it keeps is left to the device.
        - Its variant with an averaged backbone, which is off by default, is left out.

    >>> rows, early, late = {"latest": 1.0, "seen": 9000}, {"step": 500}, {"step": 9100}
    >>> [VPL().recall(rows, state).share for state in (early, late)]
    [0.0, 0.15]
    """

    name: ClassVar[str] = "vpl"
    panel: ClassVar[str] = "For each class"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(
        0.5, low=0, below=math.pi, unit="radians", help="added to the target angle"
    )
    share: float = parameter(
        0.15, low=0, below=0.5, help="lambda, of the latest embedding in a class's vector"
    )
    start_step: int = parameter(8000, low=0, help="steps that are ArcFace's")
    window: int = parameter(200, low=1, help="steps that a latest embedding counts for")
    gradient: Gradient = parameter(
        "exact", help="of the target: `exact`, or `straight_through`, d target / d cos = scale"
    )
    past_pi: PastPi = parameter(
        "monotone",
        help="`monotone` is cos(theta) - margin sin(margin), `clip` stops at pi, `none` does "
        "nothing",
    )

    def recall(self, rows: Arrays, state: Arrays) -> Memory:
        """Return the share of the class's latest embedding, in this step."""
        step, seen = int(state["step"]) + 1, int(rows["seen"])
        counts = step > self.start_step and seen > 0 and step - seen <= self.window
        return Memory(self.share if counts else 0.0, rows["latest"])

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta + margin)."""
        return self._angular(cosine, 1.0, self.margin)[0]
