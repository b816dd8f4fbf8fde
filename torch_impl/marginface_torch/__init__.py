"""marginface in PyTorch: the same names and signatures as `marginface_tf`."""

import os

# Class weights get a new gradient in every step, which Linux hands out in pages of 4 kB, at a fifth
# of the head's whole time, unless PyTorch asks for large ones. It looks here when it starts.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from marginface.extras import needs

with needs("torch", "backend 'torch'"):
    import torch

from marginface_torch.backbones.backbone import create_backbone
from marginface_torch.backbones.weights import backbone_arrays, load_weights, save_weights
from marginface_torch.bench import loss_step
from marginface_torch.export import export_onnx
from marginface_torch.heads.head import MarginHead
from marginface_torch.learner import create_embedder, create_learner
from marginface_torch.parity import evaluate_loss
from marginface_torch.processes import join

__all__ = [
    "MarginHead",
    "backbone_arrays",
    "create_backbone",
    "create_embedder",
    "create_learner",
    "evaluate_loss",
    "export_onnx",
    "join",
    "load_weights",
    "loss_step",
    "name",
    "save_weights",
    "version",
]

name = "torch"


def version() -> str:
    """Return the framework's name and version."""
    return f"torch {torch.__version__}"
