"""Appending ONNX nodes: a value is known by its tensor's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.extras import needs

with needs("onnx"):
    import onnx
    from onnx import helper, numpy_helper


class Nodes:
    """The nodes and constants of a graph that is being written.

    Args:
        opset: whose operators are used.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.names = {"images", "embeddings"}  # taken
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node with one output of the same name, and return that."""
        name = self._free(name)
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant, and return its name."""
        name = self._free(name)
        array: NDArray[Any] = np.array(values, dtype, order="C")
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def _free(self, name: str) -> str:
        """Take a free name, marked where a layer has the name of another tensor."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name
