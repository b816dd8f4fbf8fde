"""mbf and mbf_large: InsightFace's wide MobileFaceNets, under their parameter names."""

from functools import partial

from marginface.backbones.graph import IMAGES, Graph
from marginface.backbones.mobilefacenet import conv_unit as any_conv_unit

# channels of the first stage, units of each row
WIDTHS = {"mbf": (128, (1, 4, 6, 2)), "mbf_large": (256, (2, 8, 12, 4))}

conv_unit = partial(any_conv_unit, parts=("layers.0", "layers.1", "layers.2"))


def depthwise(
    graph: Graph, name: str, x: int, channels: int, groups: int, *, stride: int = 2
) -> int:
    """Expand to `groups` channels, 3x3 depthwise, project linearly."""
    x = conv_unit(graph, f"{name}.layers.0", x, groups, 1)
    x = conv_unit(graph, f"{name}.layers.1", x, groups, 3, stride=stride, padding=1, groups=groups)
    return conv_unit(graph, f"{name}.layers.2", x, channels, 1, activation=False)


def residual(graph: Graph, name: str, x: int, count: int, groups: int) -> int:
    """A row of depthwise units, each added to its input."""
    channels = graph.shape(x)[0]
    for i in range(count):
        x = graph.add(x, depthwise(graph, f"{name}.layers.{i}", x, channels, groups, stride=1))
    return x


def mbf(graph: Graph, dropout: float) -> None:
    """Append the whole network to an empty graph."""
    width, counts = WIDTHS[graph.name]
    x = conv_unit(graph, "layers.0", IMAGES, width, 3, stride=2, padding=1)
    if counts[0] == 1:
        x = conv_unit(graph, "layers.1", x, width, 3, padding=1, groups=64)
    else:
        x = residual(graph, "layers.1", x, counts[0], groups=128)
    x = depthwise(graph, "layers.2", x, width, groups=128)
    x = residual(graph, "layers.3", x, counts[1], groups=128)
    x = depthwise(graph, "layers.4", x, 2 * width, groups=256)
    x = residual(graph, "layers.5", x, counts[2], groups=256)
    x = depthwise(graph, "layers.6", x, 2 * width, groups=512)
    x = residual(graph, "layers.7", x, counts[3], groups=256)
    x = conv_unit(graph, "conv_sep", x, 512, 1)
    _, height, width = graph.shape(x)
    x = conv_unit(graph, "features.layers.0", x, 512, (height, width), groups=512, activation=False)
    x = graph.dropout(graph.flatten(x), dropout)
    std = (2 / graph.embedding_size) ** 0.5
    x = graph.linear("features.layers.2", x, graph.embedding_size, bias=False, init_std=std)
    graph.batch_norm("features.layers.3", x)
