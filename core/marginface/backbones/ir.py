"""IR and IR-SE: the residual networks of AdaFace, CVLface and TFace, and those of face.evoLVe.

They differ from `iresnet` in what the first unit of a stage adds to: where the channels stay, every
second pixel of its input rather than a projection. The second family (`_evolve`: face.evoLVe,
TreB1eN's InsightFace_Pytorch) has no BatchNorm between the first convolution and PReLU. SE is
squeeze and excitation (1709.01507) at the end of each unit.
"""

from typing import NamedTuple

from marginface.backbones.graph import IMAGES, Graph

SQUEEZE = 16  # channels for one of the excitation's


class Network(NamedTuple):
    """What tells the networks apart."""

    units: tuple[int, ...]  # in each stage
    excites: bool
    evolve: bool  # the second family


UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    101: (3, 13, 30, 3),  # called 100 in places
    152: (3, 8, 36, 3),
}
NETWORKS = {
    f"ir{se}{depth}{suffix}": Network(UNITS[depth], excites=bool(se), evolve=bool(suffix))
    for suffix, depths in (("", (18, 34, 50, 101)), ("_evolve", (50, 101, 152)))
    for se in ("", "_se")
    for depth in depths
}


def residual_unit(
    graph: Graph, name: str, x: int, channels: int, stride: int, network: Network
) -> int:
    """BN, 3x3, BN (in the first family), PReLU, 3x3 with the stride, BN, SE; plus the input."""
    body, number = f"{name}.res_layer", 2
    y = graph.batch_norm(f"{body}.0", x)
    y = conv(graph, f"{body}.1", y, channels, 3, network)
    if not network.evolve:
        y, number = graph.batch_norm(f"{body}.2", y), 3
    y = graph.prelu(f"{body}.{number}", y)
    y = conv(graph, f"{body}.{number + 1}", y, channels, 3, network, stride)
    y = graph.batch_norm(f"{body}.{number + 2}", y)
    if network.excites:
        y = excitation(graph, f"{body}.{'5' if network.evolve else 'se_block'}", y, network)
    if channels == graph.shape(x)[0]:
        return graph.add(y, graph.subsample(x, stride))
    x = conv(graph, f"{name}.shortcut_layer.0", x, channels, 1, network, stride)
    return graph.add(y, graph.batch_norm(f"{name}.shortcut_layer.1", x))


def excitation(graph: Graph, name: str, x: int, network: Network) -> int:
    """Multiply each channel by a factor that the means of all channels decide."""
    channels = graph.shape(x)[0]
    y = graph.global_pool(x)
    y = graph.relu(conv(graph, f"{name}.fc1", y, channels // SQUEEZE, 1, network))
    return graph.multiply(x, graph.sigmoid(conv(graph, f"{name}.fc2", y, channels, 1, network)))


def conv(
    graph: Graph, name: str, x: int, channels: int, kernel: int, network: Network, stride: int = 1
) -> int:
    """Convolve; weights start by He's rule, those of the second family as PyTorch starts them."""
    bound = (kernel**2 * graph.shape(x)[0]) ** -0.5 if network.evolve else None
    return graph.conv(
        name, x, channels, kernel, stride=stride, padding=kernel // 2, init_bound=bound
    )


def append_ir(graph: Graph, dropout: float, network: Network) -> None:
    """Append a network to an empty graph."""
    x = conv(graph, "input_layer.0", IMAGES, 64, 3, network)
    x = graph.prelu("input_layer.2", graph.batch_norm("input_layer.1", x))
    number = 0
    for count, channels in zip(network.units, (64, 128, 256, 512), strict=True):
        for stride in (2, *[1] * (count - 1)):
            x = residual_unit(graph, f"body.{number}", x, channels, stride, network)
            number += 1
    x = graph.dropout(graph.batch_norm("output_layer.0", x), dropout)
    std = None if network.evolve else (2 / graph.embedding_size) ** 0.5
    x = graph.linear(
        "output_layer.3", graph.flatten(x), graph.embedding_size, bias=True, init_std=std
    )
    graph.batch_norm("output_layer.4", x, affine=network.evolve)


def ir(graph: Graph, dropout: float) -> None:
    """Append the network that the graph's name says."""
    append_ir(graph, dropout, NETWORKS[graph.name])
