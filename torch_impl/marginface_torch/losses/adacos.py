"""AdaCos: no margin, and a scale that follows the batch."""

import math

import torch
from torch import Tensor

from marginface.losses.adacos import LEAST_COSINE, AdaCos
from marginface_torch.losses.base import LossOps, Tensors


class AdaCosOps(LossOps[AdaCos]):
    """logit_j = s cos(theta_j)."""

    def radius(self, state: Tensors) -> Tensor:
        """Return s."""
        return state["scale"]

    def finish(self, cosines: Tensor, others: Tensor, state: Tensors) -> dict[str, Tensor]:
        """Return s of the batch."""
        log_mean = others.logsumexp(0) - math.log(len(others))
        # The lower one of the middle two angles.
        median = cosines.sort(descending=True).values[(len(cosines) - 1) // 2]
        scale = log_mean / median.clamp(min=LEAST_COSINE)
        return {"scale": torch.where(log_mean > 0, scale, state["scale"])}
