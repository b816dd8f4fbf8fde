"""Linear layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from marginface.backbones.layers.base import (
    TOKENS,
    VECTORS,
    Array,
    Call,
    Layer,
    Parameter,
    Shape,
    Start,
)
from marginface.backbones.layers.layout import Layout


@dataclass(frozen=True)
class Linear(Layer):
    """x W^T + b on the last axis; weight [out, in].

    `unflattened` is the shape that its input had before it was flattened: TensorFlow flattens
    images channels last, so its weights lie in that order.
    """

    in_features: int
    out_features: int
    bias: bool
    unflattened: Shape
    init_std: float | None = None  # None: PyTorch's default, uniform within 1 / sqrt(in)
    truncated: bool = False  # the normal distribution is cut off at two deviations

    takes = (TOKENS, VECTORS)

    def parameters(self) -> dict[str, Parameter]:
        """Return the weight and, with `bias`, the bias: zeros where the weight is normal."""
        shape, bound = (self.out_features, self.in_features), 1 / math.sqrt(self.in_features)
        bias = (self.out_features,)
        if self.init_std is None:
            parameters = {"weight": Parameter(shape, "uniform", bound)}
            start = Parameter(bias, "uniform", bound, decay=False)
        else:
            normal: Start = "truncated" if self.truncated else "normal"
            parameters = {"weight": Parameter(shape, normal, self.init_std)}
            start = Parameter(bias, "constant", 0, decay=False)
        return parameters | ({"bias": start} if self.bias else {})

    def channels_last(self) -> dict[str, Layout]:
        """Return TensorFlow's layout of the weight: [in, out], in the order of its flattening."""
        canonical = (self.out_features, self.in_features)
        view = (self.out_features, *self.unflattened)
        order = (2, 3, 1, 0) if len(view) == 4 else (1, 0)
        return {"weight": Layout(canonical, view, order, canonical[::-1])}

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's with `out_features` as the last."""
        return *inputs[0][:-1], self.out_features

    def forward(self, call: Call, x: Array) -> Array:
        """Multiply by the transposed weight, add the bias."""
        y = x @ call.arrays["weight"].T
        return y + call.arrays["bias"] if self.bias else y
