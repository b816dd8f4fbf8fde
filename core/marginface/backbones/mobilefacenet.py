"""MobileFaceNet of the paper (1804.04573, table 1), under the names of the public PyTorch port."""

from functools import partial

from marginface.backbones import units as blocks
from marginface.backbones.graph import IMAGES, Graph

# expansion, channels, repeats, stride of the first
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))

conv_block = partial(blocks.conv_block, parts=("conv", "bn", "prelu"))


def bottleneck(graph: Graph, name: str, x: int, expansion: int, channels: int, stride: int) -> int:
    """1x1 expansion, 3x3 depthwise, linear 1x1; added to its input where shapes agree."""
    before = graph.shape(x)[0]
    wide = before * expansion
    y = graph.conv(f"{name}.conv.0", x, wide, 1)
    y = graph.prelu(f"{name}.conv.2", graph.batch_norm(f"{name}.conv.1", y))
    y = graph.conv(f"{name}.conv.3", y, wide, 3, stride=stride, padding=1, groups=wide)
    y = graph.prelu(f"{name}.conv.5", graph.batch_norm(f"{name}.conv.4", y))
    y = graph.conv(f"{name}.conv.6", y, channels, 1)
    y = graph.batch_norm(f"{name}.conv.7", y)
    return graph.add(x, y) if stride == 1 and before == channels else y


def mobilefacenet(graph: Graph, dropout: float) -> None:
    """Append the whole network to an empty graph."""
    x = conv_block(graph, "conv1", IMAGES, 64, 3, stride=2, padding=1)
    x = conv_block(graph, "dw_conv1", x, 64, 3, padding=1, groups=64)
    blocks = 0
    for expansion, channels, repeats, stride in BOTTLENECKS:
        for i in range(repeats):
            x = bottleneck(
                graph, f"blocks.{blocks}", x, expansion, channels, stride if i == 0 else 1
            )
            blocks += 1
    x = conv_block(graph, "conv2", x, 512, 1)
    _, height, width = graph.shape(x)
    x = conv_block(graph, "linear7", x, 512, (height, width), groups=512, activation=False)
    x = graph.dropout(x, dropout)
    x = conv_block(graph, "linear1", x, graph.embedding_size, 1, activation=False)
    graph.flatten(x)
