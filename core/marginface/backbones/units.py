"""The block that both mobile networks are made of, whatever its parts are called."""

from marginface.backbones.graph import Graph


def conv_block(
    graph: Graph,
    name: str,
    x: int,
    channels: int,
    kernel: int | tuple[int, int],
    *,
    parts: tuple[str, str, str],
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
