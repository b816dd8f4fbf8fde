"""AdaCos: no margin, and a scale that follows the batch."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Arrays, Float, Logit, Numbers

LEAST_COSINE = math.cos(math.pi / 4)  # of the median angle, which counts as pi / 4 at most


@dataclass(frozen=True, kw_only=True)
class AdaCos(MarginLoss):
    """AdaCos (1905.00292, eq. 14): no margin; the scale follows how well the batch is recognised.

    logit_j = s cos(theta_j)
    s = ln(mean of sum over j != y of exp(s' cos(theta_j))) / cos(min(pi / 4, median of theta))

    s' is the scale of the step before. Mean and median are over the batch, of all processes; theta
    is the angle to the own class, and of an even number the lower one of the middle two counts. s
    is a constant to the gradient, and the loss's state; it starts at sqrt(2) ln(classes - 1).

    scale_from="batch" goes over the classes once more, before the logits, and uses s at once, as
    the formula does. "last_step" saves this pass: s is for the next step. Where the mean is no more
    than 1, which only a few classes can bring about, s stays as it was: a scale below 0 would turn
    training round.

    In the wild:
        - Public code keeps the scale where no checkpoint saves it, has one for each GPU, and moves
          it in evaluation, too. Here it is in checkpoints, and moves only in training.
        - It computes the exponentials themselves, which overflow float32 as the scale grows.

    >>> loss = AdaCos()
    >>> round(loss.radius(loss.initial_state(112)), 2)
    6.66
    """

    name: ClassVar[str] = "adacos"
    min_classes: ClassVar[int] = 3  # of two, the scale starts at 0 and stays there
    panel: ClassVar[str] = ""

    scale: float = parameter(
        0.0, low=0, help="where s starts; 0 for sqrt(2) ln(classes - 1), the paper's"
    )
    scale_from: Literal["batch", "last_step"] = parameter(
        "batch", help="`batch`, the formula, or `last_step`, without a pass more over the classes"
    )

    @property
    def looks_ahead(self) -> bool:
        """Whether s is the batch's."""
        return self.scale_from == "batch"

    def initial_state(self, num_classes: int) -> dict[str, NDArray[Any]]:
        """Return where s starts."""
        return {"scale": np.array(self.scale or math.sqrt(2) * math.log(num_classes - 1))}

    def radius(self, state: Arrays) -> float:
        """Return s."""
        return float(state["scale"])

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return the cosine itself."""
        return Logit(cosine, 1.0)

    def finish(self, cosines: Float, others: Float, state: Arrays) -> dict[str, NDArray[Any]]:
        """Return s of the batch."""
        log_mean = np.logaddexp.reduce(others) - math.log(len(others))
        median = sorted(cosines, reverse=True)[(len(cosines) - 1) // 2]  # of angles the lower one
        if log_mean <= 0:
            return dict(state)
        return {"scale": np.array(log_mean / max(median, LEAST_COSINE))}
