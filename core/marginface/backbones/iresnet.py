"""IResNet 18 to 200: ArcFace's residual networks, under InsightFace's parameter names."""

from marginface.backbones.graph import IMAGES, Graph

UNITS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}
INIT_STD = 0.1  # InsightFace draws every convolution from N(0, 0.1)


def residual_unit(graph: Graph, name: str, x: int, channels: int, stride: int) -> int:
    """BN, 3x3, BN, PReLU, 3x3 with the stride, BN, plus the input or its projection."""
    y = graph.batch_norm(f"{name}.bn1", x)
    y = graph.conv(f"{name}.conv1", y, channels, 3, padding=1, init_std=INIT_STD)
    y = graph.batch_norm(f"{name}.bn2", y)
    y = graph.prelu(f"{name}.prelu", y)
    y = graph.conv(f"{name}.conv2", y, channels, 3, stride=stride, padding=1, init_std=INIT_STD)
    y = graph.batch_norm(f"{name}.bn3", y)
    if stride != 1:
        x = graph.conv(f"{name}.downsample.0", x, channels, 1, stride=stride, init_std=INIT_STD)
        x = graph.batch_norm(f"{name}.downsample.1", x)
    return graph.add(y, x)


def iresnet(graph: Graph, dropout: float) -> None:
    """Append the whole network to an empty graph."""
    x = graph.conv("conv1", IMAGES, 64, 3, padding=1, init_std=INIT_STD)
    x = graph.batch_norm("bn1", x)
    x = graph.prelu("prelu", x)
    for stage, (count, channels) in enumerate(
        zip(UNITS[graph.name], (64, 128, 256, 512), strict=True), 1
    ):
        for i in range(count):
            x = residual_unit(graph, f"layer{stage}.{i}", x, channels, stride=2 if i == 0 else 1)
    x = graph.batch_norm("bn2", x)
    x = graph.dropout(graph.flatten(x), dropout)
    x = graph.linear("fc", x, graph.embedding_size, bias=True)
    graph.batch_norm("features", x, trainable_scale=False)
