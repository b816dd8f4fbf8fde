"""Backbones of a user's own: what they may be, and what is said of wrong ones."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from marginface import MarginfaceError, backbones
from marginface.backbones import IMAGES, Graph


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Forget what a test registers."""
    before = dict(backbones._BUILDERS)
    yield
    backbones._BUILDERS.clear()
    backbones._BUILDERS.update(before)


def plain(graph: Graph, dropout: float) -> None:
    x = graph.flatten(graph.conv("stem", IMAGES, 8, 16, stride=16))
    graph.linear("fc", graph.dropout(x, dropout), graph.embedding_size, bias=False)


def test_a_backbone_is_found_under_its_name() -> None:
    backbones.register_backbone("plain", plain)
    assert "plain" in backbones.names()
    graph = backbones.describe("plain", 64, dropout=0.5)
    assert graph.shape(len(graph.nodes) - 1) == (64,)
    assert graph.noise() == {"dropout": (8, 7, 7)}
    backbones.register_backbone("plain", plain)  # a cell that is run again


@pytest.mark.parametrize(
    ("name", "build", "words"),
    [
        ("mbf", plain, "there is a backbone called 'mbf'; choose another name"),
        ("", plain, "a backbone's name must be a text, got ''"),
        (5, plain, "a backbone's name must be a text, got 5"),
        ("mine", None, "'mine' must come with a function .* build\\(graph, dropout\\), got None"),
        ("mine", len, "takes two arguments, build.*too many positional arguments"),
        ("mine", setattr, "two arguments.*missing a required arg"),
    ],
)
def test_what_cannot_be_registered(name: Any, build: Any, words: str) -> None:
    with pytest.raises(MarginfaceError, match=words):
        backbones.register_backbone(name, build)
    assert "mine" not in backbones.names()


def of_channels(channels: int) -> backbones.Build:
    def build(graph: Graph, _: float) -> None:
        graph.linear("fc", graph.flatten(graph.conv("stem", IMAGES, channels)), 512, bias=False)

    return build


def sized(graph: Graph, _: float, channels: int = 4) -> None:
    of_channels(channels)(graph, _)


def test_a_cell_may_be_edited_and_run_again() -> None:
    """As a loss may be: the same module and name, whatever the function does now."""
    for make in (of_channels, lambda channels: partial(sized, channels=channels)):
        for channels in (4, 5):
            backbones.register_backbone("mine", make(channels))
            weight = backbones.describe("mine").parameters()["stem.weight"]
            assert weight.shape[0] == channels
        with pytest.raises(MarginfaceError, match="there is a backbone called 'mine'"):
            backbones.register_backbone("mine", plain)
        del backbones._BUILDERS["mine"]


def test_what_a_builder_raises_is_one_line_with_its_place() -> None:
    backbones.register_backbone("wrong", lambda graph, _: graph.conv("stem", IMAGES, 8) + "1")
    with pytest.raises(MarginfaceError) as caught:
        backbones.describe("wrong")
    said = str(caught.value)
    assert said.startswith("backbone 'wrong' cannot be built: TypeError: unsupported operand")
    assert f"({__file__}, line " in said


def test_a_builder_does_not_change_what_was_asked_for() -> None:
    def smaller(graph: Graph, _: float) -> None:
        graph.embedding_size = 4
        graph.linear("fc", graph.flatten(IMAGES), 4, bias=False)

    backbones.register_backbone("smaller", smaller)
    with pytest.raises(MarginfaceError, match="'smaller' sets the graph's name, input_size, embed"):
        backbones.describe("smaller", 8)


def norm_behind_flattening(graph: Graph) -> None:
    graph.batch_norm("norm", graph.flatten(IMAGES))


def two_of_a_name(graph: Graph) -> None:
    graph.prelu("prelu", graph.prelu("prelu", IMAGES))


def tokens_without(graph: Graph) -> None:
    graph.layer_scale("scale", IMAGES, init_scale=1.0)


def uneven_heads(graph: Graph) -> None:
    graph.attention("attn", graph.tokens(IMAGES), 2, init_std=0.02)


def no_pixels(graph: Graph) -> None:
    graph.conv("conv", IMAGES, 8, 200)


def no_tokens(graph: Graph) -> None:
    x = graph.conv("conv", IMAGES, 8, 112)
    graph.mask_tokens("mask", graph.tokens(x), 0.5)


def mixed_orders(graph: Graph) -> None:
    x = graph.flatten(IMAGES)
    graph.add(x, graph.linear("linear", x, graph.shape(x)[0], bias=False))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda _: None, r"'wrong' is empty, expected \[512\]; let its last layer give"),
        (lambda graph: graph.flatten(IMAGES), r"ends in shape \[37632\], expected \[512\]"),
        (lambda graph: graph.prelu("a", IMAGES), r"ends in shape \[3, 112, 112\], expected"),
        (two_of_a_name, "two layers are called 'prelu'; rename one"),
        (
            norm_behind_flattening,
            "'norm' stands behind flattened images.*put a linear layer between",
        ),
        (mixed_orders, "a sum with other vectors stands behind flattened images"),
        (tokens_without, r"'scale' \(LayerScale\) takes tokens \[tokens, channels\], got \[3, 112"),
        (uneven_heads, "'attn' cannot share 3 channels among 2 heads"),
        (no_pixels, "cannot take images of 112x112: 'conv' would be left with no pixels"),
        (no_tokens, "cannot take images of 112x112: 'mask' would leave none of 1 tokens"),
    ],
)
def test_networks_that_are_none(build: Callable[[Graph], Any], words: str) -> None:
    backbones.register_backbone("wrong", lambda graph, _: build(graph))
    with pytest.raises(MarginfaceError, match=words) as caught:
        backbones.describe("wrong")
    assert "\n" not in str(caught.value)


def test_flattened_images_are_no_embedding() -> None:
    backbones.register_backbone("wrong", lambda graph, _: graph.flatten(IMAGES))
    with pytest.raises(MarginfaceError, match="the embedding stands behind flattened images"):
        backbones.describe("wrong", 3 * 8 * 8, (8, 8))


def test_dropout_is_not_passed_over() -> None:
    def undropped(graph: Graph, _: float) -> None:
        graph.linear("fc", graph.flatten(IMAGES), graph.embedding_size, bias=False)

    backbones.register_backbone("undropped", undropped)
    backbones.describe("undropped")
    with pytest.raises(
        MarginfaceError, match=r"'undropped' drops nothing, got dropout 0\.5; leave"
    ):
        backbones.describe("undropped", dropout=0.5)


def test_an_unknown_name_says_how_to_register_one() -> None:
    with pytest.raises(MarginfaceError, match=r"unknown backbone 'mine'.*register_backbone in"):
        backbones.describe("mine")
