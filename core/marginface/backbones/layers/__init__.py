"""Kinds of layer: one small file each, and the table of them all.

PyTorch, TensorFlow and the ONNX writer have a table each with these keys.
"""

from marginface.backbones.layers.add import Add
from marginface.backbones.layers.attention import Attention
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
from marginface.backbones.layers.drop_path import DropPath
from marginface.backbones.layers.dropout import Dropout
from marginface.backbones.layers.flatten import Flatten
from marginface.backbones.layers.global_pool import GlobalPool
from marginface.backbones.layers.layer_norm import LayerNorm
from marginface.backbones.layers.layout import Layout
from marginface.backbones.layers.linear import Linear
from marginface.backbones.layers.mask_tokens import MaskTokens
from marginface.backbones.layers.multiply import Multiply
from marginface.backbones.layers.position import Position
from marginface.backbones.layers.prelu import PReLU
from marginface.backbones.layers.relu import ReLU
from marginface.backbones.layers.relu6 import ReLU6
from marginface.backbones.layers.restore_tokens import RestoreTokens
from marginface.backbones.layers.sigmoid import Sigmoid
from marginface.backbones.layers.subsample import Subsample
from marginface.backbones.layers.tokens import Tokens

__all__ = [
    "KINDS",
    "NOISE",
    "Add",
    "Array",
    "Attention",
    "BatchNorm",
    "Call",
    "Conv",
    "DropPath",
    "Dropout",
    "Flatten",
    "GlobalPool",
    "Layer",
    "LayerNorm",
    "Layout",
    "Linear",
    "MaskTokens",
    "Multiply",
    "PReLU",
    "Parameter",
    "Position",
    "ReLU",
    "ReLU6",
    "RestoreTokens",
    "Shape",
    "Sigmoid",
    "Subsample",
    "Tokens",
    "threshold",
]

KINDS: tuple[type[Layer], ...] = (
    Conv,
    BatchNorm,
    PReLU,
    Linear,
    Add,
    Multiply,
    Flatten,
    Dropout,
    LayerNorm,
    ReLU,
    ReLU6,
    Sigmoid,
    Subsample,
    GlobalPool,
    Tokens,
    Position,
    Attention,
    DropPath,
    MaskTokens,
    RestoreTokens,
)
