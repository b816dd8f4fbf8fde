"""The neutral description of a backbone: layers that torch, tf and ONNX each interpret."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from marginface.errors import MarginfaceError

BN_EPSILON = 1e-5
BN_MOMENTUM = 0.1  # running = (1 - momentum) * running + momentum * batch, PyTorch's convention
IMAGES = -1  # as an input position: the images themselves


class Parameter(NamedTuple):
    """One named array of a layer: its canonical (PyTorch) shape and how it starts."""

    shape: tuple[int, ...]
    init: str  # "zeros", "ones", "normal", "uniform", "quarter"
    spread: float = 0.0  # standard deviation of "normal", bound of "uniform"
    trainable: bool = True


@dataclass(frozen=True)
class Conv:
    """Convolution without bias; weight [out, in / groups, kernel height, kernel width]."""

    name: str
    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: int
    padding: int
    groups: int
    init_std: float

    def parameters(self) -> dict[str, Parameter]:
        """Return the weight."""
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel)
        return {"weight": Parameter(shape, "normal", self.init_std)}

    @property
    def depthwise(self) -> bool:
        """Whether each output channel sees one input channel of its own."""
        return self.groups == self.in_channels == self.out_channels


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation over all axes but the channels; running variance is unbiased."""

    name: str
    channels: int
    trainable_scale: bool = True

    def parameters(self) -> dict[str, Parameter]:
        """Return scale, offset and the two running statistics."""
        shape = (self.channels,)
        return {
            "weight": Parameter(shape, "ones", trainable=self.trainable_scale),
            "bias": Parameter(shape, "zeros"),
            "running_mean": Parameter(shape, "zeros", trainable=False),
            "running_var": Parameter(shape, "ones", trainable=False),
        }


@dataclass(frozen=True)
class PReLU:
    """max(x, 0) + weight * min(x, 0), one slope a channel."""

    name: str
    channels: int

    def parameters(self) -> dict[str, Parameter]:
        """Return the slopes, 0.25 at the start."""
        return {"weight": Parameter((self.channels,), "quarter")}


@dataclass(frozen=True)
class Linear:
    """x W^T + b; weight [out, in]. `unflattened` is the [C, H, W] that its input was."""

    name: str
    in_features: int
    out_features: int
    bias: bool
    unflattened: tuple[int, int, int]
    init_std: float | None  # None: PyTorch's default, uniform within 1 / sqrt(in)

    def parameters(self) -> dict[str, Parameter]:
        """Return the weight and, with `bias`, the bias."""
        bound = 1 / math.sqrt(self.in_features)
        kind, spread = ("uniform", bound) if self.init_std is None else ("normal", self.init_std)
        found = {"weight": Parameter((self.out_features, self.in_features), kind, spread)}
        if self.bias:
            found["bias"] = Parameter((self.out_features,), "uniform", bound)
        return found


@dataclass(frozen=True)
class Add:
    """Sum of two inputs."""


@dataclass(frozen=True)
class Flatten:
    """[N, C, H, W] to [N, C * H * W], channels slowest."""


@dataclass(frozen=True)
class Dropout:
    """Zero a share `rate` of the values in training, scale the rest by 1 / (1 - rate)."""

    rate: float


Layer = Conv | BatchNorm | PReLU | Linear | Add | Flatten | Dropout
Weighted = (Conv, BatchNorm, PReLU, Linear)


class Node(NamedTuple):
    """A layer, the positions of the nodes it reads, and the shape it gives (without batch)."""

    layer: Layer
    inputs: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass
class Graph:
    """Layers in order of execution; the last one gives the embedding.

    The methods append a layer and return its position, which later layers take as input.
    """

    name: str
    input_size: tuple[int, int]
    embedding_size: int
    nodes: list[Node] = field(default_factory=list)

    def shape(self, position: int) -> tuple[int, ...]:
        """Return the shape, without batch, at a position."""
        return (3, *self.input_size) if position == IMAGES else self.nodes[position].shape

    def _append(self, layer: Layer, inputs: tuple[int, ...], shape: tuple[int, ...]) -> int:
        self.nodes.append(Node(layer, inputs, shape))
        return len(self.nodes) - 1

    def conv(
        self,
        name: str,
        x: int,
        channels: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        init_std: float | None = None,
    ) -> int:
        """Append a convolution; weights start by He's fan-out rule unless `init_std` is given."""
        before, height, width = self.shape(x)
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        after = tuple(
            (n + 2 * padding - k) // stride + 1
            for n, k in zip((height, width), kernel, strict=True)
        )
        if min(after) < 1:
            raise MarginfaceError(
                f"backbone '{self.name}' cannot take images of "
                f"{self.input_size[0]}x{self.input_size[1]}: '{name}' would be left with no pixels"
            )
        std = init_std or math.sqrt(2 / (channels * kernel[0] * kernel[1]))
        layer = Conv(name, before, channels, kernel, stride, padding, groups, std)
        return self._append(layer, (x,), (channels, *after))

    def batch_norm(self, name: str, x: int, *, trainable_scale: bool = True) -> int:
        """Append a batch normalisation."""
        shape = self.shape(x)
        return self._append(BatchNorm(name, shape[0], trainable_scale), (x,), shape)

    def prelu(self, name: str, x: int) -> int:
        """Append a PReLU."""
        shape = self.shape(x)
        return self._append(PReLU(name, shape[0]), (x,), shape)

    def add(self, x: int, y: int) -> int:
        """Append a sum."""
        if self.shape(x) != self.shape(y):
            raise MarginfaceError(f"cannot add shapes {self.shape(x)} and {self.shape(y)}")
        return self._append(Add(), (x, y), self.shape(x))

    def flatten(self, x: int) -> int:
        """Append a flattening."""
        return self._append(Flatten(), (x,), (math.prod(self.shape(x)),))

    def dropout(self, x: int, rate: float) -> int:
        """Append a dropout; nothing at rate 0."""
        return self._append(Dropout(rate), (x,), self.shape(x)) if rate else x

    def linear(
        self, name: str, x: int, features: int, *, bias: bool, init_std: float | None = None
    ) -> int:
        """Append a linear layer behind a flattening (dropout may stand between)."""
        source = x
        while len(self.shape(source)) == 1:
            source = self.nodes[source].inputs[0]
        channels, height, width = self.shape(source)
        layer = Linear(
            name, math.prod(self.shape(x)), features, bias, (channels, height, width), init_std
        )
        return self._append(layer, (x,), (features,))

    def check_images(self, shape: Sequence[int | None]) -> None:
        """Raise unless images are [N, 3, height, width] of the size that this is built for."""
        if len(shape) != 4 or tuple(shape[1:]) != (3, *self.input_size):
            height, width = self.input_size
            raise MarginfaceError(
                f"images have shape {list(shape)}, '{self.name}' takes [N, 3, {height}, {width}]; "
                "create the backbone with their input_size, or resize them"
            )

    def parameters(self) -> dict[str, Parameter]:
        """Return every array by canonical name, in order of execution."""
        return {
            f"{node.layer.name}.{suffix}": parameter
            for node in self.nodes
            if isinstance(node.layer, Weighted)
            for suffix, parameter in node.layer.parameters().items()
        }

    def last_use(self) -> list[int]:
        """Return, for each node, the position of the last node that reads it (its own for none)."""
        last = list(range(len(self.nodes)))
        for position, node in enumerate(self.nodes):
            for source in node.inputs:
                if source != IMAGES:
                    last[source] = position
        return last
