"""The losses in TensorFlow: tensor code only; parameters, defaults and docs are the core's."""

from typing import Any

from marginface.losses import ArcFace, CombinedMargin, CosFace, MarginLoss, NormFace, Softmax
from marginface_tf.losses.arcface import CombinedMarginOps
from marginface_tf.losses.base import LossOps, unit
from marginface_tf.losses.cosface import CosFaceOps
from marginface_tf.losses.softmax import NormFaceOps, SoftmaxOps

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
