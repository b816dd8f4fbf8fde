"""Each framework's layout of a backbone's arrays."""

from __future__ import annotations

from marginface.backbones.graph import Graph, array_name
from marginface.backbones.layers import Layout
from marginface.errors import unknown_name

FRAMEWORKS = ("torch", "tf")


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
    by_name = {
        name: Layout.permuted(parameter.shape, range(len(parameter.shape)))
        for name, parameter in graph.parameters().items()
    }
    if framework == "tf":
        for node in graph.nodes:
            for suffix, layout in node.layer.channels_last().items():
                by_name[array_name(node.layer, suffix)] = layout
    return by_name
