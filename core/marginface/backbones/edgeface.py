"""EdgeFace (2307.01838): EdgeNeXt (2206.10589) at 112 x 112, under timm's names for its parameters.

Four stages of convolutional blocks: a depthwise convolution, then an MLP on each pixel. The last
block of all stages but the first lets its channels look at each other instead. The `gamma`
variants have two narrow linear layers in place of each: their rank is a share of its width.
"""

import math
from typing import NamedTuple

from marginface.backbones.graph import IMAGES, Graph

KERNELS = (3, 5, 7, 9)  # of the stages' depthwise convolutions
SCALES = (2, 2, 3, 4)  # groups of channels in the stages' last blocks
MLP_RATIO = 4
EPSILON = 1e-6
INIT_STD, INIT_SCALE = 0.02, 1e-6  # of weights, of what a block adds


class Network(NamedTuple):
    """The numbers that tell the networks apart."""

    depths: tuple[int, ...]  # blocks of each stage
    widths: tuple[int, ...]  # channels of each stage
    heads: int
    rank: float = 1.0  # of linear layers, as a share of their width; 1 for single ones


NETWORKS = {
    "edgeface_xxs": Network((2, 2, 6, 2), (24, 48, 88, 168), heads=4),
    "edgeface_xs_gamma_06": Network((3, 3, 9, 3), (32, 64, 100, 192), heads=4, rank=0.6),
    "edgeface_s_gamma_05": Network((3, 3, 9, 3), (48, 96, 160, 304), heads=8, rank=0.5),
    "edgeface_base": Network((3, 3, 9, 3), (80, 160, 288, 584), heads=8),
}


class EdgeNeXt:
    """Appends the layers of one network to a graph."""

    def __init__(self, graph: Graph, network: Network) -> None:
        self.graph, self.network = graph, network

    def whole(self, dropout: float) -> None:
        """Append all layers."""
        graph, network = self.graph, self.network
        x = self.conv("stem.0", IMAGES, network.widths[0], 4, stride=4)
        x = graph.layer_norm("stem.1", x, epsilon=EPSILON)
        for stage, (depth, width) in enumerate(zip(network.depths, network.widths, strict=True)):
            name = f"stages.{stage}"
            if stage:
                x = graph.layer_norm(f"{name}.downsample.0", x, epsilon=EPSILON)
                x = self.conv(f"{name}.downsample.1", x, width, 2, stride=2)
            for i in range(depth):
                block = f"{name}.blocks.{i}"
                if stage and i == depth - 1:
                    x = self.transposed_block(block, x, SCALES[stage], position=stage == 1)
                else:
                    x = self.conv_block(block, x, KERNELS[stage])
        x = graph.layer_norm("head.norm", graph.flatten(graph.global_pool(x)), epsilon=EPSILON)
        # The authors put this layer in place of timm's after the start, so it starts as PyTorch's.
        self.linear("head.fc", graph.dropout(x, dropout), graph.embedding_size, init_std=None)

    def conv_block(self, name: str, x: int, kernel: int) -> int:
        """Mix pixels in each channel, then channels in each pixel; plus the input."""
        y = self.depthwise(f"{name}.conv_dw", x, kernel)
        return self.graph.add(x, self.mlp(name, self.graph.tokens(y), x))

    def transposed_block(self, name: str, x: int, scales: int, *, position: bool) -> int:
        """Mix ever more pixels from group to group, then channels by attention, then as above."""
        graph, y = self.graph, self.cascade(f"{name}.convs", x, scales)
        if position:
            y = graph.fourier_position(f"{name}.pos_embd", y, init_std=INIT_STD)
        y = graph.tokens(y)
        channels = graph.shape(y)[-1]
        z = graph.layer_norm(f"{name}.norm_xca", y, epsilon=EPSILON)
        z = self.linear(f"{name}.xca.qkv", z, 3 * channels)
        z = graph.cross_covariance(f"{name}.xca.temperature", z, self.network.heads)
        z = self.linear(f"{name}.xca.proj", z, channels)
        z = graph.layer_scale(f"{name}.gamma_xca", z, init_scale=INIT_SCALE)
        return graph.add(x, self.mlp(name, graph.add(y, z), x))

    def cascade(self, name: str, x: int, scales: int) -> int:
        """Convolve groups of channels one by one, adding the group before; the last one stays."""
        graph, channels = self.graph, self.graph.shape(x)[0]
        size = math.ceil(channels / scales)
        *starts, last = range(0, channels, size)
        y, groups = 0, []
        for i, start in enumerate(starts):
            group = graph.channels(x, start, size)
            y = self.depthwise(f"{name}.{i}", graph.add(y, group) if i else group, 3)
            groups.append(y)
        return graph.concat(*groups, graph.channels(x, last, channels - last))

    def mlp(self, name: str, tokens: int, like: int) -> int:
        """Two linear layers on each token, scaled, as images of the shape that `like` has."""
        graph = self.graph
        channels, height, width = graph.shape(like)
        y = graph.layer_norm(f"{name}.norm", tokens, epsilon=EPSILON)
        y = graph.gelu(self.linear(f"{name}.mlp.fc1", y, MLP_RATIO * channels))
        y = self.linear(f"{name}.mlp.fc2", y, channels)
        y = graph.layer_scale(f"{name}.gamma", y, init_scale=INIT_SCALE)
        return graph.images(y, height, width)

    def conv(self, name: str, x: int, channels: int, kernel: int, *, stride: int) -> int:
        """Append a convolution without padding."""
        return self.graph.conv(
            name, x, channels, kernel, stride=stride, bias=True, init_std=INIT_STD, truncated=True
        )

    def depthwise(self, name: str, x: int, kernel: int) -> int:
        """Append a depthwise convolution that keeps the size."""
        channels, padding = self.graph.shape(x)[0], kernel // 2
        return self.graph.conv(
            name,
            x,
            channels,
            kernel,
            padding=padding,
            groups=channels,
            bias=True,
            init_std=INIT_STD,
            truncated=True,
        )

    def linear(self, name: str, x: int, features: int, *, init_std: float | None = INIT_STD) -> int:
        """Append a linear layer; with a rank two, which start as PyTorch's."""
        if self.network.rank == 1:
            return self.graph.linear(
                name, x, features, bias=True, init_std=init_std, truncated=init_std is not None
            )
        rank = max(2, int(min(self.graph.shape(x)[-1], features) * self.network.rank))
        x = self.graph.linear(f"{name}.linear1", x, rank, bias=False)
        return self.graph.linear(f"{name}.linear2", x, features, bias=True)


def append_edgeface(graph: Graph, dropout: float, network: Network) -> None:
    """Append a network to an empty graph."""
    EdgeNeXt(graph, network).whole(dropout)


def edgeface(graph: Graph, dropout: float) -> None:
    """Append the network that the graph's name says."""
    append_edgeface(graph, dropout, NETWORKS[graph.name])
