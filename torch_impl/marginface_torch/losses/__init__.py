"""The losses in PyTorch: tensor code only; parameters, defaults and docs are the core's."""

from typing import Any

import torch

from marginface.losses import MarginLoss
from marginface.losses.tensor_code import code_of_families, own_code
from marginface.losses.trial import try_code
from marginface_torch.losses.base import LossOps

__all__ = ["OPS", "LossOps", "loss_ops"]

OPS: dict[type[MarginLoss], type[LossOps[Any]]] = code_of_families(__name__)


def loss_ops(loss: MarginLoss) -> LossOps[Any]:
    """Return the tensor code of a loss.

    Raises:
        MarginfaceError: a loss of one's own is not registered with such code, or fails its trial.
    """
    kind = type(loss)
    if kind in OPS:
        return OPS[kind](loss)
    ops: LossOps[Any] = try_code(own_code(kind, "torch"), loss, "torch", torch.tensor)
    return ops
