"""ElasticFace: a margin drawn anew for every sample."""

import torch
from torch import Tensor

from marginface.losses.elasticface import (
    ElasticFaceArc,
    ElasticFaceArcPlus,
    ElasticFaceCos,
    ElasticFaceCosPlus,
)
from marginface_torch.losses.angular import AngularOps
from marginface_torch.losses.base import LossOps, Tensors


class ElasticFaceArcOps(AngularOps[ElasticFaceArc]):
    """target logit = scale * cos(theta + m_i)."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the drawn margins, given out as the loss does."""
        return {"margin": given_out(self.spec, draw["margin"], cosines)}, {}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta + m_i)."""
        return self.angular(cosines, 1.0, prepared["margin"])[0]


class ElasticFaceCosOps(LossOps[ElasticFaceCos]):
    """target logit = scale * (cos(theta) - m_i)."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the drawn margins, given out as the loss does."""
        return {"margin": given_out(self.spec, draw["margin"], cosines)}, {}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta) - m_i."""
        return cosines - prepared["margin"]


def given_out(loss: ElasticFaceArc | ElasticFaceCos, drawn: Tensor, cosines: Tensor) -> Tensor:
    """Return the margins as drawn, or of the + variants by the target cosines."""
    if not isinstance(loss, ElasticFaceArcPlus | ElasticFaceCosPlus):
        return drawn
    margins = torch.sort(drawn).values
    order = torch.argsort(cosines, descending=True, stable=True)
    if loss.assignment == "released":
        return margins[order]
    return torch.zeros_like(margins).scatter(0, order, margins)
