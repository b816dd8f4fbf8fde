"""How each framework stores a canonical array: a reshape, a permutation, a reshape."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marginface.backbones.graph import Conv, Graph, Linear, Weighted
from marginface.errors import unknown_name

FRAMEWORKS = ("torch", "tf")


class Layout(NamedTuple):
    """`canonical.reshape(view).transpose(order).reshape(shape)` is the framework's array."""

    canonical: tuple[int, ...]
    view: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]

    def to_framework(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the framework's array of a canonical one."""
        return np.ascontiguousarray(
            array.reshape(self.view).transpose(self.order).reshape(self.shape)
        )

    def to_canonical(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the canonical array of a framework's one."""
        turned = array.reshape([self.view[axis] for axis in self.order])
        back = turned.transpose(np.argsort(self.order)).reshape(self.canonical)
        return np.ascontiguousarray(back)


def layouts(graph: Graph, framework: str) -> dict[str, Layout]:
    """Return the layout of every array for "torch" (canonical) or "tf" (channels last).

    Raises:
        MarginfaceError: another framework.

    >>> from marginface.backbones import describe
    >>> layouts(describe("iresnet18"), "tf")["conv1.weight"].shape
    (3, 3, 3, 64)
    """
    if framework not in FRAMEWORKS:
        raise unknown_name("framework", framework, FRAMEWORKS)
    found = {}
    for name, parameter in graph.parameters().items():
        shape = parameter.shape
        found[name] = Layout(shape, shape, tuple(range(len(shape))), shape)
    if framework == "torch":
        return found
    for node in graph.nodes:
        layer = node.layer
        if not isinstance(layer, Weighted):
            continue
        name = f"{layer.name}.weight"
        if isinstance(layer, Conv):
            o, i, h, w = shape = found[name].canonical
            order = (2, 3, 0, 1) if layer.depthwise else (2, 3, 1, 0)
            found[name] = Layout(
                shape, shape, order, (h, w, *((o, i) if layer.depthwise else (i, o)))
            )
        elif isinstance(layer, Linear):
            # The input is flattened channels first in PyTorch and channels last in TensorFlow.
            view = (layer.out_features, *layer.unflattened)
            shape = (layer.in_features, layer.out_features)
            found[name] = Layout(found[name].canonical, view, (2, 3, 1, 0), shape)
    return found
