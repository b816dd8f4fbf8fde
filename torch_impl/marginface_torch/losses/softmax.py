"""Softmax and NormFace: no margin, so the seam's defaults are the loss."""

from marginface.losses.softmax import NormFace, Softmax
from marginface_torch.losses.base import LossOps


class SoftmaxOps(LossOps[Softmax]):
    """logit = scale * w . x + b."""


class NormFaceOps(LossOps[NormFace]):
    """logit = scale * cos(theta)."""
