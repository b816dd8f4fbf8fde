"""The published vision transformers: what neither names nor number of their parameters show."""

from collections.abc import Iterator

import pytest

from marginface import backbones
from marginface.backbones import Graph, layers

# Channels, layers, drop path of the last layer, share of the tokens masked, tokens left of 144.
PUBLISHED = {
    "vit_t": (256, 12, 0.1, 0.1, 129),
    "vit_t_dp005_mask0": (256, 12, 0.05, 0, 144),
    "vit_s": (512, 12, 0.1, 0.1, 129),
    "vit_s_dp005_mask_0": (512, 12, 0.05, 0, 144),
    "vit_b": (512, 24, 0.1, 0.1, 129),
    "vit_b_dp005_mask_005": (512, 24, 0.05, 0.05, 136),
    "vit_l_dp005_mask_005": (768, 24, 0.05, 0.05, 136),
}
PATCH = 1 / (3 * 9 * 9) ** 0.5  # PyTorch's bound for a convolution of 9 x 9 on three channels
STARTS = {  # by the end of a parameter's name; all others are normal, of deviation 0.02
    "patch_embed.proj.weight": ("uniform", pytest.approx(PATCH)),
    "patch_embed.proj.bias": ("uniform", pytest.approx(PATCH)),
    **dict.fromkeys(("norm.weight", "norm1.weight", "norm2.weight"), ("constant", 1)),
    **dict.fromkeys(("feature.1.weight", "feature.3.weight", "running_var"), ("constant", 1)),
    **dict.fromkeys(("bias", "running_mean"), ("constant", 0)),
}


def start(key: str) -> tuple[str, float]:
    return next((given for end, given in STARTS.items() if key.endswith(end)), ("normal", 0.02))


def of_kind(graph: Graph, kind: type[layers.Layer]) -> Iterator[layers.Layer]:
    return (node.layer for node in graph.nodes if isinstance(node.layer, kind))


@pytest.mark.parametrize("name", PUBLISHED)
def test_layers_are_the_published_ones(name: str) -> None:
    channels, depth, drop_path, mask, left = PUBLISHED[name]
    graph = backbones.describe(name)
    (patches,) = of_kind(graph, layers.Conv)
    assert (patches.kernel, patches.stride, patches.padding, patches.bias) == ((9, 9), 9, 0, True)
    (places,) = of_kind(graph, layers.Position)
    assert (places.tokens, places.channels) == (144, channels)
    assert [(a.channels, a.heads) for a in of_kind(graph, layers.Attention)] == [
        (channels, 8)
    ] * depth
    assert [n.epsilon for n in of_kind(graph, layers.LayerNorm)] == [1e-5] * (2 * depth + 1)
    assert [n.epsilon for n in of_kind(graph, layers.BatchNorm)] == [2e-5, 2e-5]
    assert [(m.rate, m.left) for m in of_kind(graph, layers.MaskTokens)] == (
        [(mask, left)] if mask else []
    )
    # Rates rise evenly from the first layer, which drops nothing; both branches have the same.
    rates = {each.name: each.rate for each in of_kind(graph, layers.DropPath)}
    assert rates == pytest.approx(
        {
            f"blocks.{i}.drop_path{branch}": drop_path / (depth - 1) * i
            for i in range(1, depth)
            for branch in (1, 2)
        }
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_start_as_published(name: str) -> None:
    for key, parameter in backbones.describe(name).parameters().items():
        assert (parameter.start, parameter.size) == start(key), key
