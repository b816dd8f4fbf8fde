"""MobileFaceNet of the paper (1804.04573, table 1), under the names of the public PyTorch port."""

from marginface.backbones.graph import IMAGES, Graph

# expansion, channels, repeats, stride of the first
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


def conv_unit(
    graph: Graph,
    name: str,
    x: int,
    channels: int,
    kernel: int | tuple[int, int],
    *,
    parts: tuple[str, str, str] = ("conv", "bn", "prelu"),
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    activation: bool = True,
) -> int:
    """Convolution, BN and, unless it is linear, PReLU; `parts` are their names below `name`."""
    conv, norm, prelu = (f"{name}.{part}" for part in parts)
    x = graph.conv(conv, x, channels, kernel, stride=stride, padding=padding, groups=groups)
    x = graph.batch_norm(norm, x)
    return graph.prelu(prelu, x) if activation else x


def bottleneck(graph: Graph, name: str, x: int, expansion: int, channels: int, stride: int) -> int:
    """1x1 expansion, 3x3 depthwise, linear 1x1; added to its input where shapes agree."""
    before = graph.shape(x)[0]
    wide, body = before * expansion, f"{name}.conv"
    y = conv_unit(graph, body, x, wide, 1, parts=("0", "1", "2"))
    y = conv_unit(
        graph, body, y, wide, 3, parts=("3", "4", "5"), stride=stride, padding=1, groups=wide
    )
    y = conv_unit(graph, body, y, channels, 1, parts=("6", "7", ""), activation=False)
    return graph.add(x, y) if stride == 1 and before == channels else y


def mobilefacenet(graph: Graph, dropout: float) -> None:
    """Append the whole network to an empty graph."""
    x = conv_unit(graph, "conv1", IMAGES, 64, 3, stride=2, padding=1)
    x = conv_unit(graph, "dw_conv1", x, 64, 3, padding=1, groups=64)
    units = 0
    for expansion, channels, repeats, stride in BOTTLENECKS:
        for i in range(repeats):
            x = bottleneck(
                graph, f"blocks.{units}", x, expansion, channels, stride if i == 0 else 1
            )
            units += 1
    x = conv_unit(graph, "conv2", x, 512, 1)
    _, height, width = graph.shape(x)
    x = conv_unit(graph, "linear7", x, 512, (height, width), groups=512, activation=False)
    x = graph.dropout(x, dropout)
    x = conv_unit(graph, "linear1", x, graph.embedding_size, 1, activation=False)
    graph.flatten(x)
