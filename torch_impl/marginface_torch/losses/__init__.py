"""The losses in PyTorch: tensor code only; parameters, defaults and docs are the core's."""

from typing import Any

from marginface.losses import ArcFace, CombinedMargin, CosFace, MarginLoss, NormFace, Softmax
from marginface_torch.losses.arcface import CombinedMarginOps
from marginface_torch.losses.base import LossOps, unit
from marginface_torch.losses.cosface import CosFaceOps
from marginface_torch.losses.softmax import NormFaceOps, SoftmaxOps

__all__ = ["OPS", "LossOps", "loss_ops", "unit"]

OPS: dict[type[MarginLoss], type[LossOps[Any]]] = {
    Softmax: SoftmaxOps,
    NormFace: NormFaceOps,
    CosFace: CosFaceOps,
    ArcFace: CombinedMarginOps,
    CombinedMargin: CombinedMarginOps,
}


def loss_ops(loss: MarginLoss) -> LossOps[Any]:
    """Return the tensor code of a loss."""
    return OPS[type(loss)](loss)
