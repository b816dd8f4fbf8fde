"""GhostFaceNetV1 in plain Keras, whose arrays go by order, as those of the published files do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from marginface.backbones.ghostfacenet import LAST, STEM, Bottleneck

PART = {"kernel": "weight", "gamma": "weight", "alpha": "weight", "bias": "bias", "beta": "bias"}
PART |= {"moving_mean": "running_mean", "moving_variance": "running_var"}


def hard_sigmoid(x: Any) -> Any:
    """Return Keras 2's."""
    return keras.ops.clip(0.2 * x + 0.5, 0, 1)


class PlainGhostFaceNet:
    """Builds the network, and notes the name of each layer that has arrays."""

    def __init__(
        self, bottlenecks: Sequence[Bottleneck], stride: int, size: int, side: int, dtype: str
    ) -> None:
        self.named: dict[str, Any] = {}
        self.dtype = dtype
        images = keras.Input((side, side, 3), dtype=dtype)
        x = self.unit("stem", images, layers.Conv2D(STEM, 3, stride, **self.conv), activation=True)
        for i, numbers in enumerate(bottlenecks):
            x = self.bottleneck(f"blocks.{i}", x, numbers)
        x = self.unit("last", x, layers.Conv2D(LAST, 1, **self.conv), activation=True)
        pool = layers.DepthwiseConv2D(x.shape[1], use_bias=False, dtype=dtype)
        x = layers.Flatten(dtype=dtype)(self.unit("pool", x, pool))
        x = self.run("fc", layers.Dense(size, dtype=dtype), x)
        self.model = keras.Model(images, self.run("features", self.norm(), x))

    @property
    def conv(self) -> dict[str, Any]:
        """What all convolutions but the last have."""
        return {"padding": "same", "use_bias": False, "dtype": self.dtype}

    def norm(self) -> Any:
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=self.dtype)

    def run(self, name: str, layer: Any, x: Any) -> Any:
        self.named[name] = layer
        return layer(x)

    def prelu(self, name: str, x: Any) -> Any:
        return self.run(name, layers.PReLU(shared_axes=[1, 2], dtype=self.dtype), x)

    def unit(self, name: str, x: Any, conv: Any, *, activation: bool = False) -> Any:
        x = self.run(f"{name}.bn", self.norm(), self.run(f"{name}.conv", conv, x))
        return self.prelu(f"{name}.prelu", x) if activation else x

    def ghost(self, name: str, x: Any, channels: int, *, activation: bool) -> Any:
        first = layers.Conv2D(channels // 2, 1, **self.conv)
        x = self.unit(f"{name}.primary", x, first, activation=activation)
        second = layers.DepthwiseConv2D(3, **self.conv)
        y = self.unit(f"{name}.cheap", x, second, activation=activation)
        return layers.Concatenate(dtype=self.dtype)([x, y])

    def bottleneck(self, name: str, x: Any, numbers: Bottleneck) -> Any:
        kernel, inside, channels, squeezed, stride = numbers
        y = self.ghost(f"{name}.ghost1", x, inside, activation=True)
        if stride > 1:
            y = self.unit(
                f"{name}.depthwise", y, layers.DepthwiseConv2D(kernel, stride, **self.conv)
            )
        if squeezed:
            z = layers.GlobalAveragePooling2D(keepdims=True, dtype=self.dtype)(y)
            z = self.run(f"{name}.se.reduce", layers.Conv2D(squeezed, 1, dtype=self.dtype), z)
            z = self.prelu(f"{name}.se.prelu", z)
            z = self.run(f"{name}.se.expand", layers.Conv2D(inside, 1, dtype=self.dtype), z)
            gate = layers.Activation(hard_sigmoid, dtype=self.dtype)
            y = layers.Multiply(dtype=self.dtype)([y, gate(z)])
        y = self.ghost(f"{name}.ghost2", y, channels, activation=False)
        if stride > 1 or channels != x.shape[-1]:
            depthwise = layers.DepthwiseConv2D(kernel, stride, **self.conv)
            x = self.unit(f"{name}.shortcut.depthwise", x, depthwise)
            pointwise = layers.Conv2D(channels, 1, **self.conv)
            x = self.unit(f"{name}.shortcut.pointwise", x, pointwise)
        return layers.Add(dtype=self.dtype)([x, y])

    def variables(self) -> dict[str, Any]:
        """Return every variable by its canonical name."""
        return {
            f"{name}.{PART[variable.name]}": variable
            for name, layer in self.named.items()
            for variable in layer.variables
        }
