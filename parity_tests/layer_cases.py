"""Small networks, one for each thing that a layer does, registered as `case_<name>`."""

from __future__ import annotations

from collections.abc import Callable

from marginface import backbones
from marginface.backbones import IMAGES, Graph
from marginface.backbones.edgeface import Network as EdgeFace
from marginface.backbones.edgeface import append_edgeface
from marginface.backbones.ghostfacenet import BOTTLENECKS, append_ghostfacenet
from marginface.backbones.ir import Network, append_ir
from marginface.backbones.vit import Size, append_vit

SIDES = (6, 7)  # of the images
TINY_VIT, ROWS, JOINS = "tiny_vit", "tiny_rows", "tiny_joins"
FIRST_IR, SECOND_IR = "tiny_ir", "tiny_ir_evolve"
TINY_IR = {  # a network of each family, with all that theirs have
    name: Network((2, 1, 1, 1), excites=True, evolve=name == SECOND_IR)
    for name in (FIRST_IR, SECOND_IR)
}

TINY_EDGEFACE, TINY_GHOST = "tiny_edgeface", "tiny_ghostfacenet"


def convolutions(graph: Graph) -> int:
    """Every way of computing one that a framework has."""
    x = graph.conv("plain", IMAGES, 4, 3, padding=1)
    x = graph.conv("pairs", x, 4, 3, padding=1, groups=2)
    x = graph.conv("depthwise", x, 4, 3, stride=2, padding=1, groups=4)
    x = graph.conv("pointwise", x, 6, 1)
    return graph.conv("grouped", x, 9, 2, groups=3)


def patches(graph: Graph) -> int:
    """A bias, and pixels at the end that no stride reaches."""
    return graph.conv("patches", IMAGES, 5, 2, stride=4, bias=True)


def same_padding(graph: Graph) -> int:
    """Zeros behind alone, and on both sides; a kernel of one pixel."""
    x = graph.conv("strided", IMAGES, 4, 3, stride=2, padding="same")
    x = graph.conv("depthwise", x, 4, 3, padding="same", groups=4)
    return graph.conv("pointwise", x, 5, 1, padding="same", bias=True)


def batch_norm(graph: Graph) -> int:
    """Of images and of vectors; epsilons that show; without scale and offset."""
    x = graph.batch_norm("images", IMAGES, epsilon=0.1)
    x = graph.linear("linear", graph.flatten(x), 5, bias=True)
    x = graph.batch_norm("vectors", x, trainable_scale=False, epsilon=0.2)
    y = graph.relu(graph.batch_norm("bare_images", IMAGES, affine=False, epsilon=0.3))
    y = graph.linear("bare_linear", graph.flatten(y), 5, bias=False)
    return graph.add(x, graph.batch_norm("bare_vectors", y, affine=False, epsilon=0.4))


def prelu(graph: Graph) -> int:
    """Of images and of vectors."""
    x = graph.flatten(graph.prelu("images", IMAGES))
    return graph.prelu("vectors", graph.linear("linear", x, 5, bias=False))


def linear(graph: Graph) -> int:
    """Behind flattened images, behind vectors, of tokens, behind flattened tokens."""
    x = graph.linear("flattened", graph.flatten(IMAGES), 6, bias=True)
    x = graph.linear("vectors", x, 5, bias=False)
    y = graph.linear("tokens", graph.tokens(IMAGES), 4, bias=True)
    y = graph.linear("bare", y, 3, bias=False)
    y = graph.linear("flattened_tokens", graph.flatten(y), 5, bias=False)
    return graph.add(x, y)


def dropout(graph: Graph) -> int:
    """Of images, tokens, flattened images, vectors: the noise lies as the canonical values do."""
    x = graph.dropout(IMAGES, 0.2, "of_images")
    y = graph.flatten(graph.dropout(graph.tokens(x), 0.3, "of_tokens"))
    x = graph.dropout(graph.flatten(x), 0.4, "of_flattened")
    x = graph.add(graph.linear("x", x, 8, bias=False), graph.linear("y", y, 8, bias=False))
    return graph.dropout(x, 0.5, "of_vectors")


def layer_norm(graph: Graph) -> int:
    """Of tokens, of images, of vectors; epsilons that show."""
    x = graph.layer_norm("tokens", graph.tokens(IMAGES), epsilon=0.1)
    y = graph.layer_norm("images", IMAGES, epsilon=0.2)
    x = graph.linear("linear", graph.flatten(graph.add(x, graph.tokens(y))), 5, bias=True)
    return graph.layer_norm("vectors", x, epsilon=0.3)


def relu6(graph: Graph) -> int:
    """Of values on both sides of both bends."""
    return graph.relu6(graph.batch_norm("wide", IMAGES))


def position(graph: Graph) -> int:
    """An array under the layer's own name, which may have dots."""
    return graph.position("encoder.places", graph.tokens(IMAGES), init_std=0.5)


def attention(graph: Graph) -> int:
    """Two heads of three channels."""
    x = graph.tokens(graph.conv("conv", IMAGES, 6, 2, stride=2))
    return graph.attention("attn", x, 2, init_std=0.5)


def drop_path(graph: Graph) -> int:
    """Of images and of tokens."""
    x = graph.drop_path("of_images", IMAGES, 0.3)
    return graph.drop_path("of_tokens", graph.tokens(x), 0.5)


def masking(graph: Graph) -> int:
    """Fewer tokens in between; an array where they were."""
    x = graph.mask_tokens("mask", graph.tokens(IMAGES), 0.4)
    x = graph.linear("linear", x, 4, bias=True)
    return graph.restore_tokens("mask_token", x, "mask", init_std=0.5)


def unmasked(graph: Graph) -> int:
    """An array that rests."""
    return graph.restore_tokens("mask_token", graph.tokens(IMAGES), "", init_std=0.5)


def subsample(graph: Graph) -> int:
    """Sides that the stride divides and does not."""
    return graph.subsample(IMAGES, 2)


def gates(graph: Graph) -> int:
    """A factor for each channel of images, as squeeze and excitation has; one for each value."""
    x = graph.conv("conv", IMAGES, 4, 3, padding=1)
    y = graph.relu(graph.conv("gates.0", graph.global_pool(x), 6, 1, bias=True, init_std=0.5))
    x = graph.multiply(x, graph.sigmoid(graph.conv("gates.1", y, 4, 1)))
    x = graph.multiply(x, graph.hard_sigmoid(graph.conv("gates.2", x, 4, 1)))
    return graph.multiply(graph.tokens(x), graph.tokens(graph.relu(x)))


def gelu(graph: Graph) -> int:
    """Of values near and far from zero."""
    return graph.gelu(graph.batch_norm("wide", IMAGES))


def layer_scale(graph: Graph) -> int:
    """Of tokens, which become images again."""
    x = graph.layer_scale("block.gamma", graph.tokens(IMAGES), init_scale=0.5)
    return graph.images(x, *SIDES)


def cascade(graph: Graph) -> int:
    """Groups of channels, of two sizes, one of which is added to another."""
    x = graph.conv("conv", IMAGES, 5, 1)
    y = graph.add(graph.channels(x, 0, 2), graph.channels(x, 2, 2))
    return graph.concat(y, graph.channels(x, 4, 1), graph.channels(x, 2, 2))


def fourier_position(graph: Graph) -> int:
    """Sides that differ."""
    return graph.fourier_position("places", IMAGES, init_std=0.5)


def cross_covariance(graph: Graph) -> int:
    """Two heads of two channels."""
    x = graph.linear("qkv", graph.tokens(IMAGES), 12, bias=True)
    return graph.cross_covariance("xca.temperature", x, 2)


CASES: dict[str, Callable[[Graph], int]] = {
    each.__name__: each
    for each in (
        *(
            convolutions,
            same_padding,
            patches,
            batch_norm,
            prelu,
            linear,
            dropout,
            layer_norm,
            relu6,
        ),
        *(position, attention, drop_path, masking, unmasked, subsample, gates),
        *(same_padding, gelu, layer_scale, cascade, fourier_position, cross_covariance),
    )
}


def vectors(graph: Graph, last: int) -> int:
    """Append what makes vectors of all that a case gives."""
    x = graph.tokens(last) if len(graph.shape(last)) == 3 else last
    return graph.flatten(x) if len(graph.shape(x)) == 2 else x


def case(name: str) -> Graph:
    """Return a case's graph, whose embedding is all that it gives."""
    trial = Graph(name, SIDES, 1)
    size = trial.shape(vectors(trial, CASES[name](trial)))[0]
    return backbones.describe(f"case_{name}", size, SIDES)


def _register(name: str) -> None:
    def build(graph: Graph, _: float) -> None:
        vectors(graph, CASES[name](graph))

    backbones.register_backbone(f"case_{name}", build)


def tiny_vit(graph: Graph, dropout: float) -> None:
    """A vision transformer of two blocks that drops much."""
    append_vit(graph, dropout, Size(16, 2, 0.5, 0.3))


def tiny_ir(graph: Graph, dropout: float) -> None:
    """A residual network of five units."""
    append_ir(graph, dropout, TINY_IR[graph.name])


def tiny_edgeface(graph: Graph, dropout: float) -> None:
    """One block of each kind, narrow linear layers, groups of channels of two sizes."""
    network = EdgeFace((1, 2, 1, 1), (4, 8, 10, 12), heads=2, rank=0.6)
    append_edgeface(graph, dropout, network)


def tiny_ghostfacenet(graph: Graph, dropout: float) -> None:
    """Bottlenecks with all that they have, and with nothing of it."""
    bottlenecks = [BOTTLENECKS[i] for i in (0, 3, 4)]
    append_ghostfacenet(graph, dropout, 2, bottlenecks)


def conv_unit(graph: Graph, name: str, x: int, channels: int) -> int:
    """Half the height and width."""
    x = graph.conv(f"{name}.conv", x, channels, 3, stride=2, padding=1)
    return graph.prelu(f"{name}.prelu", graph.batch_norm(f"{name}.bn", x))


def rows(graph: Graph, dropout: float) -> None:
    """A stem, two numbered parts and an embedding layer, as the large networks have."""
    x = graph.batch_norm("bn1", graph.conv("conv1", IMAGES, 4, padding=1))
    x = conv_unit(graph, "layer2.0", conv_unit(graph, "layer1.0", x, 6), 8)
    x = graph.linear("fc", graph.dropout(graph.flatten(x), dropout), 16, bias=True)
    graph.batch_norm("features", x, trainable_scale=False)


def joins(graph: Graph, dropout: float) -> None:
    """Two residual blocks: branches that join."""
    x = conv_unit(graph, "stem", IMAGES, 6)
    for name in ("block.0", "block.1"):
        y = graph.conv(f"{name}.conv", graph.batch_norm(f"{name}.bn1", x), 6, 3, padding=1)
        x = graph.add(x, graph.batch_norm(f"{name}.bn2", y))
    x = graph.linear("fc", graph.dropout(graph.flatten(x), dropout), 16, bias=True)
    graph.batch_norm("features", x, affine=False)


for each in CASES:
    _register(each)
backbones.register_backbone(JOINS, joins)
for each in TINY_IR:
    backbones.register_backbone(each, tiny_ir)
backbones.register_backbone(TINY_VIT, tiny_vit)
backbones.register_backbone(ROWS, rows)
backbones.register_backbone(TINY_EDGEFACE, tiny_edgeface)
backbones.register_backbone(TINY_GHOST, tiny_ghostfacenet)
