"""`marginface` with a network that takes little time: import it, or run it as a program."""

from marginface import backbones
from marginface.backbones import IMAGES, Graph
from marginface.cli.main import main


def patches(graph: Graph, dropout: float) -> None:
    """Have a stem that sees each patch once, two numbered parts and an embedding layer."""
    x = graph.batch_norm("bn1", graph.conv("conv1", IMAGES, 4, 16, stride=16))
    for part in ("layer1.0", "layer2.0"):
        x = graph.batch_norm(f"{part}.bn", graph.conv(f"{part}.conv", x, 8, 1))
        x = graph.prelu(f"{part}.prelu", x)
    x = graph.linear(
        "fc", graph.dropout(graph.flatten(x), dropout), graph.embedding_size, bias=False
    )
    graph.batch_norm("features", x, trainable_scale=False)


backbones.register_backbone("tiny_patches", patches)

if __name__ == "__main__":
    main()
