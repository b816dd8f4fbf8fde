"""Margin-based face recognition in PyTorch or TensorFlow, with one answer."""

from marginface import backbones, losses
from marginface.backend import load_backend
from marginface.errors import MarginfaceError

__all__ = ["MarginfaceError", "__version__", "backbones", "load_backend", "losses"]
__version__ = "0.1.0"
