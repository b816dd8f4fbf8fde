"""Kinds of layer: one small file each, and the table of them all.

PyTorch, TensorFlow and the ONNX writer have a table each with these keys.
"""

from marginface.backbones.layers.add import Add
from marginface.backbones.layers.base import (
    NOISE,
    Array,
    Call,
    Layer,
    Parameter,
    Shape,
    threshold,
)
from marginface.backbones.layers.batch_norm import BatchNorm
from marginface.backbones.layers.conv import Conv
from marginface.backbones.layers.dropout import Dropout
from marginface.backbones.layers.flatten import Flatten
from marginface.backbones.layers.layout import Layout
from marginface.backbones.layers.linear import Linear
from marginface.backbones.layers.prelu import PReLU

__all__ = [
    "KINDS",
    "NOISE",
    "Add",
    "Array",
    "BatchNorm",
    "Call",
    "Conv",
    "Dropout",
    "Flatten",
    "Layer",
    "Layout",
    "Linear",
    "PReLU",
    "Parameter",
    "Shape",
    "threshold",
]

KINDS: tuple[type[Layer], ...] = (Conv, BatchNorm, PReLU, Linear, Add, Flatten, Dropout)
