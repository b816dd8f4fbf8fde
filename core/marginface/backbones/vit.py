"""Vision transformers of arcface_torch, whose layout LVFace's published weights have, too.

Patches of 9 x 9 without overlap (at 112 x 112 the last 4 pixels are unused), no class token, and an
embedding from all tokens together. In training a part of the tokens is left out and branches are
dropped; the released code leaves out a tenth of the tokens whatever its names say, here each
network leaves out what its name says.
"""

from typing import NamedTuple

from marginface.backbones.graph import IMAGES, Graph

PATCH, HEADS, MLP_RATIO = 9, 8, 4
INIT_STD = 0.02  # published code cuts off at 2, which is 100 deviations: never
HEAD_EPSILON = 2e-5  # of the last two BatchNorms


class Size(NamedTuple):
    """The numbers that tell the networks apart."""

    channels: int
    depth: int
    drop_path: float  # of the last layer; the first drops nothing
    mask: float  # share of the tokens that are left out


SIZES = {
    "vit_t": Size(256, 12, 0.1, 0.1),
    "vit_t_dp005_mask0": Size(256, 12, 0.05, 0.0),
    "vit_s": Size(512, 12, 0.1, 0.1),
    "vit_s_dp005_mask_0": Size(512, 12, 0.05, 0.0),
    "vit_b": Size(512, 24, 0.1, 0.1),
    "vit_b_dp005_mask_005": Size(512, 24, 0.05, 0.05),
    "vit_l_dp005_mask_005": Size(768, 24, 0.05, 0.05),
}


def encoder_layer(graph: Graph, name: str, x: int, drop_path: float) -> int:
    """Attention and MLP, each behind a norm and beside a shortcut."""
    y = graph.layer_norm(f"{name}.norm1", x)
    y = graph.attention(f"{name}.attn", y, HEADS, init_std=INIT_STD)
    x = graph.add(x, graph.drop_path(f"{name}.drop_path1", y, drop_path))
    channels = graph.shape(x)[-1]
    y = graph.layer_norm(f"{name}.norm2", x)
    y = graph.linear(f"{name}.mlp.fc1", y, MLP_RATIO * channels, bias=True, init_std=INIT_STD)
    y = graph.linear(f"{name}.mlp.fc2", graph.relu6(y), channels, bias=True, init_std=INIT_STD)
    return graph.add(x, graph.drop_path(f"{name}.drop_path2", y, drop_path))


def append_vit(graph: Graph, dropout: float, size: Size) -> None:
    """Append a vision transformer of a given size to an empty graph."""
    x = graph.conv("patch_embed.proj", IMAGES, size.channels, PATCH, stride=PATCH, bias=True)
    x = graph.position("pos_embed", graph.tokens(x), init_std=INIT_STD)
    x = graph.mask_tokens("mask", x, size.mask)
    for i in range(size.depth):
        x = encoder_layer(graph, f"blocks.{i}", x, size.drop_path * i / max(size.depth - 1, 1))
    x = graph.layer_norm("norm", x)
    x = graph.restore_tokens("mask_token", x, "mask" if size.mask else "", init_std=INIT_STD)
    x = graph.dropout(graph.flatten(x), dropout)
    x = graph.linear("feature.0", x, size.channels, bias=False, init_std=INIT_STD)
    x = graph.batch_norm("feature.1", x, epsilon=HEAD_EPSILON)
    x = graph.linear("feature.2", x, graph.embedding_size, bias=False, init_std=INIT_STD)
    graph.batch_norm("feature.3", x, epsilon=HEAD_EPSILON)


def vit(graph: Graph, dropout: float) -> None:
    """Append the network that the graph's name says."""
    append_vit(graph, dropout, SIZES[graph.name])
