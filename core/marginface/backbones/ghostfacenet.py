"""GhostFaceNetV1 of width 1.3, after GhostNet (1911.11907).

A ghost module computes half of its channels by a convolution, and the other half from those,
channel by channel. The authors' code is Keras'; they call the networks by width and stride of the
first convolution, GhostFaceNetV1-1.3-2 and GhostFaceNetV1-1.3-1. The names of the parameters are
ours, for in their files these go by order. They pad as TensorFlow does, their gates are the hard
sigmoid of Keras 2, and BatchNorm's epsilon is that of their published weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

from marginface.backbones.graph import IMAGES, Graph

STEM, LAST = 20, 664  # channels
STRIDES = {"ghostfacenet_v1": 2, "ghostfacenet_v1_s1": 1}  # of the first convolution
CUT = 0.87962566103423978  # the deviation of a standard normal that is cut off at two of its own


class Bottleneck(NamedTuple):
    """The numbers that tell the bottlenecks apart."""

    kernel: int
    inside: int  # channels between the two ghost modules
    channels: int
    squeezed: int = 0  # channels in its squeeze and excitation; 0 for none
    stride: int = 1


BOTTLENECKS = (
    Bottleneck(3, 20, 20),
    Bottleneck(3, 64, 32, stride=2),
    Bottleneck(3, 92, 32),
    Bottleneck(5, 92, 52, 24, stride=2),
    Bottleneck(5, 156, 52, 40),
    Bottleneck(3, 312, 104, stride=2),
    Bottleneck(3, 260, 104),
    Bottleneck(3, 240, 104),
    Bottleneck(3, 240, 104),
    Bottleneck(3, 624, 144, 156),
    Bottleneck(3, 872, 144, 220),
    Bottleneck(5, 872, 208, 220, stride=2),
    Bottleneck(5, 1248, 208),
    Bottleneck(5, 1248, 208, 312),
    Bottleneck(5, 1248, 208),
    Bottleneck(5, 664, 208, 168),
)


def conv(
    graph: Graph,
    name: str,
    x: int,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    bias: bool = False,
) -> int:
    """Append a convolution that starts by He's fan-out rule, cut off."""
    std = (2 / (kernel**2 * channels)) ** 0.5 / CUT
    return graph.conv(
        name,
        x,
        channels,
        kernel,
        stride=stride,
        padding="same",
        bias=bias,
        init_std=std,
        truncated=True,
    )


def conv_unit(graph: Graph, name: str, x: int, channels: int, kernel: int, stride: int = 1) -> int:
    """Convolution and BatchNorm."""
    return graph.batch_norm(
        f"{name}.bn", conv(graph, f"{name}.conv", x, channels, kernel, stride=stride)
    )


def depthwise_unit(graph: Graph, name: str, x: int, kernel: int, stride: int = 1) -> int:
    """Depthwise convolution, of whose channels each counts as one that goes out, and BatchNorm."""
    channels, std = graph.shape(x)[0], (2 / kernel**2) ** 0.5 / CUT
    x = graph.conv(
        f"{name}.conv",
        x,
        channels,
        kernel,
        stride=stride,
        padding="same",
        groups=channels,
        init_std=std,
        truncated=True,
    )
    return graph.batch_norm(f"{name}.bn", x)


def ghost_module(graph: Graph, name: str, x: int, channels: int, *, activation: bool) -> int:
    """Half of the channels from all, and the other half from those."""
    x = conv_unit(graph, f"{name}.primary", x, channels // 2, 1)
    x = graph.prelu(f"{name}.primary.prelu", x) if activation else x
    y = depthwise_unit(graph, f"{name}.cheap", x, 3)
    y = graph.prelu(f"{name}.cheap.prelu", y) if activation else y
    return graph.concat(x, y)


def excitation(graph: Graph, name: str, x: int, squeezed: int) -> int:
    """Multiply each channel by a factor that the means of all channels decide."""
    y = conv(graph, f"{name}.reduce", graph.global_pool(x), squeezed, 1, bias=True)
    y = graph.prelu(f"{name}.prelu", y)
    y = conv(graph, f"{name}.expand", y, graph.shape(x)[0], 1, bias=True)
    return graph.multiply(x, graph.hard_sigmoid(y))


def bottleneck(graph: Graph, name: str, x: int, numbers: Bottleneck) -> int:
    """Two ghost modules, the stride and the excitation between them; plus the input."""
    kernel, inside, channels, squeezed, stride = numbers
    y = ghost_module(graph, f"{name}.ghost1", x, inside, activation=True)
    if stride > 1:
        y = depthwise_unit(graph, f"{name}.depthwise", y, kernel, stride)
    if squeezed:
        y = excitation(graph, f"{name}.se", y, squeezed)
    y = ghost_module(graph, f"{name}.ghost2", y, channels, activation=False)
    if stride > 1 or channels != graph.shape(x)[0]:
        x = depthwise_unit(graph, f"{name}.shortcut.depthwise", x, kernel, stride)
        x = conv_unit(graph, f"{name}.shortcut.pointwise", x, channels, 1)
    return graph.add(x, y)


def append_ghostfacenet(
    graph: Graph, dropout: float, stride: int, bottlenecks: Sequence[Bottleneck]
) -> None:
    """Append a network to an empty graph."""
    x = graph.prelu("stem.prelu", conv_unit(graph, "stem", IMAGES, STEM, 3, stride))
    for i, numbers in enumerate(bottlenecks):
        x = bottleneck(graph, f"blocks.{i}", x, numbers)
    x = graph.prelu("last.prelu", conv_unit(graph, "last", x, LAST, 1))
    _, height, width = graph.shape(x)
    bound = (6 / ((LAST + 1) * height * width)) ** 0.5  # Keras' start where none is given: Glorot's
    x = graph.conv("pool.conv", x, LAST, (height, width), groups=LAST, init_bound=bound)
    x = graph.dropout(graph.flatten(graph.batch_norm("pool.bn", x)), dropout)
    std = (2 / (LAST + graph.embedding_size)) ** 0.5 / CUT
    x = graph.linear("fc", x, graph.embedding_size, bias=True, init_std=std, truncated=True)
    graph.batch_norm("features", x)


def ghostfacenet(graph: Graph, dropout: float) -> None:
    """Append the network that the graph's name says."""
    append_ghostfacenet(graph, dropout, STRIDES[graph.name], BOTTLENECKS)
