"""A network that tells drawn faces apart after seconds, for examples that train a larger one."""

from marginface import backbones
from marginface.backbones import IMAGES, Graph

NAME = "small_network"


def small(graph: Graph, dropout: float) -> None:
    """Append two strided convolutions and an embedding layer."""
    x = graph.conv("conv1", IMAGES, 32, 5, stride=4, padding=2)
    x = graph.prelu("prelu1", graph.batch_norm("bn1", x))
    x = graph.conv("conv2", x, 64, 3, stride=2, padding=1)
    x = graph.prelu("prelu2", graph.batch_norm("bn2", x))
    x = graph.linear(
        "fc", graph.dropout(graph.flatten(x), dropout), graph.embedding_size, bias=False
    )
    graph.batch_norm("features", x, trainable_scale=False)


backbones.register_backbone(NAME, small)
