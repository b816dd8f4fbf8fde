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
from marginface.backbones.layers.channels import Channels
from marginface.backbones.layers.concat import Concat
from marginface.backbones.layers.conv import Conv
from marginface.backbones.layers.cross_covariance import CrossCovariance
from marginface.backbones.layers.drop_path import DropPath
from marginface.backbones.layers.dropout import Dropout
from marginface.backbones.layers.flatten import Flatten
from marginface.backbones.layers.fourier_position import FourierPosition
from marginface.backbones.layers.gelu import GELU
from marginface.backbones.layers.global_pool import GlobalPool
from marginface.backbones.layers.hard_sigmoid import HardSigmoid
from marginface.backbones.layers.images import Images
from marginface.backbones.layers.layer_norm import LayerNorm
from marginface.backbones.layers.layer_scale import LayerScale
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
    "GELU",
    "KINDS",
    "NOISE",
    "Add",
    "Array",
    "Attention",
    "BatchNorm",
    "Call",
    "Channels",
    "Concat",
    "Conv",
    "CrossCovariance",
    "DropPath",
    "Dropout",
    "Flatten",
    "FourierPosition",
    "GlobalPool",
    "HardSigmoid",
    "Images",
    "Layer",
    "LayerNorm",
    "LayerScale",
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
    Concat,
    Channels,
    Flatten,
    Dropout,
    LayerNorm,
    LayerScale,
    ReLU,
    ReLU6,
    GELU,
    Sigmoid,
    HardSigmoid,
    Subsample,
    GlobalPool,
    Tokens,
    Images,
    Position,
    FourierPosition,
    Attention,
    CrossCovariance,
    DropPath,
    MaskTokens,
    RestoreTokens,
)
