"""The base of every kind of layer: arrays, shape, noise, and a NumPy reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marginface.backbones.layers.layout import Layout
from marginface.checks import check_count, check_positive, check_rate, check_spread

Array = NDArray[Any]
Start = Literal["constant", "normal", "truncated", "uniform"]
Shape = tuple[int, ...]  # of one sample: [C, H, W] of images, [L, C] of tokens, [F] of vectors

IMAGES, TOKENS, VECTORS = 3, 2, 1  # a shape's length says what it is of
NOISE = 2**31  # noise is uniform among the whole numbers below: exact in every framework and type

CHECKS: dict[str, Callable[[str, object], object]] = {  # of a layer's fields, by their names
    **dict.fromkeys(("out_channels", "out_features", "stride", "groups", "heads"), check_count),
    "rate": check_rate,
    **dict.fromkeys(("init_std", "init_bound", "init_scale"), check_spread),
    "epsilon": check_positive,
}


class Parameter(NamedTuple):
    """One named array of a layer: its canonical (PyTorch) shape, its start, its weight decay.

    Args:
        shape: of the array.
        start: its initial values: a constant, or the distribution they are drawn from.
        size: the value, the standard deviation of "normal", the bound of "uniform"; of "truncated"
            the standard deviation of the normal distribution that is cut off at two of them.
        trainable: whether it has a gradient.
        decay: whether it is a weight proper, which decays even if `decay_norm_and_bias` is false.
    """

    shape: Shape
    start: Start
    size: float
    trainable: bool = True
    decay: bool = True

    def draw(self, rng: np.random.Generator) -> Array:
        """Draw the array at its start, in float64."""
        match self.start:
            case "normal":
                return rng.normal(0.0, self.size, self.shape)
            case "truncated":
                values = rng.normal(0.0, self.size, self.shape)
                while (far := np.abs(values) > 2 * self.size).any():
                    values[far] = rng.normal(0.0, self.size, far.sum())
                return values
            case "uniform":
                return rng.uniform(-self.size, self.size, self.shape)
            case "constant":
                return np.full(self.shape, self.size)


class Call(NamedTuple):
    """Arguments of a layer's reference besides its inputs.

    Args:
        arrays: the layer's, by the last part of their names.
        training: whether statistics are the batch's.
        noise: [batch, *layer.noise], of a layer that takes some, in training.
    """

    arrays: Mapping[str, Array]
    training: bool = False
    noise: Array | None = None


@dataclass(frozen=True)
class Layer:
    """A kind of layer, whose instances stand in a graph.

    Attributes:
        takes: the kinds of input: images, tokens or vectors.
        takes_masked: whether it may stand behind tokens of which training leaves some out.
    """

    name: str

    takes: ClassVar[tuple[int, ...]] = (IMAGES, TOKENS, VECTORS)
    takes_masked: ClassVar[bool] = True

    def check(self) -> None:
        """Raise a MarginfaceError unless the layer's numbers make sense."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in CHECKS and value is not field.default:
                argument = field.name.removeprefix("out_")  # as the graph's methods call it
                CHECKS[field.name](f"{argument} of '{self.name}'", value)

    def parameters(self) -> dict[str, Parameter]:
        """Return the arrays by the last part of their names; "" takes the layer's own name."""
        return {}

    def channels_last(self) -> dict[str, Layout]:
        """Return TensorFlow's layouts of the arrays that it stores in another order."""
        return {}

    def shape(self, *inputs: Shape) -> Shape:
        """Return the output's shape in inference, without batch."""
        return inputs[0]

    def multiply_adds(self, output: Shape) -> int:
        """Return the multiplications of one sample's forward pass by the layer's weights.

        Args:
            output: its shape, [channels, height, width], [tokens, channels] or [features].
        """
        places = math.prod(output) // (output[0] if len(output) == IMAGES else output[-1])
        named = self.parameters().items()
        weights = [each.shape for name, each in named if name.endswith("weight")]
        return places * sum(math.prod(shape) for shape in weights if len(shape) > 1)

    @property
    def noise(self) -> Shape | None:
        """The shape of the noise that each sample takes in training; None for none."""
        return None

    @property
    def noise_of(self) -> str:
        """The name of the layer whose noise this one takes."""
        return self.name if self.noise is not None else ""

    def forward(self, call: Any, *inputs: Any, **_: Any) -> Array:
        """Compute the layer in float64, channels first: the reference, written for reading."""
        raise NotImplementedError


def kept(noise: Array, rate: float) -> Array:
    """Mark the values that noise keeps, where a share `rate` is dropped.

    >>> kept(np.array([0, 2**30, 2**31 - 1]), 0.5)
    array([False,  True,  True])
    """
    return noise >= threshold(rate)


def threshold(rate: float) -> int:
    """Return the least noise that keeps a value."""
    return int(rate * NOISE)
