"""The losses in TensorFlow: tensor code only; parameters, defaults and docs are the core's."""

from typing import Any

from marginface.losses import MarginLoss
from marginface.losses.tensor_code import code_of_families, own_code
from marginface_tf.losses.base import LossOps

__all__ = ["OPS", "LossOps", "loss_ops"]

OPS: dict[type[MarginLoss], type[LossOps[Any]]] = code_of_families(__name__)


def loss_ops(loss: MarginLoss) -> LossOps[Any]:
    """Return the tensor code of a loss.

    Raises:
        MarginfaceError: a loss of one's own that is not registered with such code.
    """
    kind = type(loss)
    return (OPS[kind] if kind in OPS else own_code(kind, "tf"))(loss)
