"""Appending ONNX nodes: a value is known by its tensor's name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.extras import needs

with needs("onnx"):
    import onnx
    from onnx import helper, numpy_helper

OWN = ("", "ai.onnx")  # ONNX's own domain
CONSTANTS_ALONE = 4  # the IR version since which constants need not be inputs, too


class Nodes:
    """The nodes and constants of a graph that is being written.

    Args:
        opset: whose operators are used.
        taken: names of tensors and nodes that are in use.
    """

    def __init__(self, opset: int, taken: Iterable[str] = ("images", "embeddings")) -> None:
        self.opset = opset
        self.names = set(taken)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node with one output of the same name, and return that."""
        name = self.free(name)
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant, and return its name."""
        name = self.free(name)
        array: NDArray[Any] = np.array(values, dtype, order="C")
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def put_into(self, model: onnx.ModelProto) -> None:
        """Make these nodes a model's graph, and add the constants to its own."""
        graph = onnx.GraphProto()
        graph.node.extend(self.nodes)  # before the model's go, which some of them are
        model.graph.ClearField("node")
        model.graph.node.extend(graph.node)
        model.graph.initializer.extend(self.initializers)
        model.ir_version = max(model.ir_version, CONSTANTS_ALONE)

    def free(self, name: str) -> str:
        """Take a free name, marked where a layer has the name of another tensor."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name


def names_in(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the names of a graph's tensors and nodes, those in the bodies of nodes, too."""
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        yield from (value.name for value in values)
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)
        for body in bodies(node):
            yield from names_in(body)


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs inside a loop or a condition."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def rename(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """Give tensors other names, wherever these nodes and their bodies read or write them."""
    for node in nodes:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
        for body in bodies(node):
            rename(body.node, names)
            for value in body.output:
                value.name = names.get(value.name, value.name)


def opset_of(model: onnx.ModelProto) -> int:
    """Return which of ONNX's own operator sets a model uses; 0 for none."""
    return max((each.version for each in model.opset_import if each.domain in OWN), default=0)
