"""Layers that no network can have: numbers, names, and places in a graph."""

from collections.abc import Callable
from typing import Any

import pytest

from marginface import MarginfaceError
from marginface.backbones import IMAGES, Graph


def refused(build: Callable[[Graph], Any], words: str) -> None:
    with pytest.raises(MarginfaceError, match=words) as caught:
        build(Graph("wrong", (6, 7), 8))
    assert str(caught.value).startswith("backbone 'wrong'")
    assert "\n" not in str(caught.value)


NAN = float("nan")
COUNT = "must be at least 1, a whole number, got"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda g: g.dropout(IMAGES, 1.0), r"rate of 'dropout' must be in \[0, 1\), got 1\.0"),
        (lambda g: g.drop_path("p", IMAGES, -0.5), r"rate of 'p' must be in \[0, 1\), got -0\.5"),
        (lambda g: g.mask_tokens("m", g.tokens(IMAGES), NAN), "rate of 'm' must be .* got nan"),
        (lambda g: g.dropout(IMAGES, None), "rate of 'dropout' must be .* got None"),
        (lambda g: g.position("p", g.tokens(IMAGES), init_std=-1), "init_std of 'p' must be at le"),
        (lambda g: g.position("p", g.tokens(IMAGES), init_std=None), "init_std of 'p' .* got None"),
        (lambda g: g.conv("c", IMAGES, 4, init_std=NAN), "init_std of 'c' must be .*finite, got"),
        (lambda g: g.conv("c", IMAGES, 4, init_bound=-1), "init_bound of 'c' must be at least 0"),
        (lambda g: g.subsample(IMAGES, 0), f"stride of 'subsample_0' {COUNT} 0"),
        (lambda g: g.batch_norm("n", IMAGES, epsilon=0), "epsilon of 'n' must be above 0 and f"),
        (lambda g: g.conv("c", IMAGES, 2.5), rf"channels of 'c' {COUNT} 2\.5"),
        (lambda g: g.conv("c", IMAGES, -4), f"channels of 'c' {COUNT} -4"),
        (lambda g: g.conv("c", IMAGES, 0), f"channels of 'c' {COUNT} 0"),
        (lambda g: g.conv("c", IMAGES, 4, 0), f"kernel of 'c' {COUNT} 0"),
        (lambda g: g.conv("c", IMAGES, 4, (3, 3, 3)), r"kernel of 'c' must be \(height, width\)"),
        (lambda g: g.conv("c", IMAGES, 4, stride=0), f"stride of 'c' {COUNT} 0"),
        (lambda g: g.conv("c", IMAGES, 4, padding=-1), "padding of 'c' must be at least 0, a w"),
        (lambda g: g.conv("c", IMAGES, 4, groups=2), "cannot share 3 channels, nor 4 behind it"),
        (lambda g: g.conv("c", IMAGES, 4, groups=3), "among 3 groups; both must be multiples of"),
        (lambda g: g.linear("l", g.tokens(IMAGES), 0, bias=True), f"features of 'l' {COUNT} 0"),
        (lambda g: g.attention("a", g.tokens(IMAGES), 0, init_std=1), f"heads of 'a' {COUNT} 0"),
    ],
)
def test_numbers(build: Callable[[Graph], Any], words: str) -> None:
    refused(build, words)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda g: g.conv("c", IMAGES, 4, padding="valid"), "padding of 'c' must be at least 0"),
        (lambda g: g.concat(IMAGES, g.conv("c", IMAGES, 4, 3)), "cannot put shapes .* side by sid"),
        (lambda g: g.concat(), r"cannot put shapes \[\] side by side"),
        (lambda g: g.channels(IMAGES, 2, 2), "cannot take 2 channels from 2 on: there are 3"),
        (lambda g: g.channels(IMAGES, -1, 2), "cannot take 2 channels from -1 on: there are 3"),
        (lambda g: g.images(g.tokens(IMAGES), 6, 6), "cannot lay 42 tokens out as 6x6 pixels"),
        (lambda g: g.cross_covariance("x", g.tokens(IMAGES), 2), "share 3 channels among q, k and"),
        (lambda g: g.fourier_position("p", g.tokens(IMAGES), init_std=1), "takes images"),
        (lambda g: g.layer_scale("s", IMAGES, init_scale=1), "takes tokens"),
        (lambda g: g.layer_scale("s", g.tokens(IMAGES), init_scale=NAN), "init_scale of 's' must"),
        (lambda g: g.layer_norm("n", g.flatten(IMAGES)), "stands behind flattened images"),
    ],
)
def test_parts_of_channels_and_positions(build: Callable[[Graph], Any], words: str) -> None:
    refused(build, words)


def test_sums_of_two_shapes() -> None:
    refused(lambda g: g.add(IMAGES, g.tokens(IMAGES)), r"cannot add shapes \(3, 6, 7\) and \(42, 3")


@pytest.mark.parametrize(
    "build",
    [
        lambda g: g.multiply(IMAGES, g.tokens(IMAGES)),
        lambda g: g.multiply(IMAGES, g.subsample(IMAGES, 2)),
        lambda g: g.multiply(IMAGES, g.global_pool(g.conv("c", IMAGES, 1, 1))),
        lambda g: g.multiply(g.global_pool(IMAGES), IMAGES),
    ],
    ids=["tokens", "fewer pixels", "one channel", "factors first"],
)
def test_products_of_two_shapes(build: Callable[[Graph], int]) -> None:
    refused(build, r"cannot multiply shapes \(")


def test_products_of_flattened_images() -> None:
    def build(graph: Graph) -> None:
        x = graph.flatten(IMAGES)
        graph.multiply(x, graph.linear("l", x, 3 * 6 * 7, bias=True))

    refused(build, "a product with other vectors stands behind flattened images")


@pytest.mark.parametrize("name", ["", "a.", ".a", "a..b", "a b", "a-b", "0.a", "_a", "a._b", 5])
def test_what_is_no_name(name: Any) -> None:
    refused(lambda graph: graph.prelu(name, IMAGES), "name must be words joined by dots, such as")


@pytest.mark.parametrize("name", ["forward", "training", "stage1.type.conv", "graph", "module.a"])
def test_names_with_a_meaning_of_their_own(name: str) -> None:
    refused(lambda graph: graph.prelu(name, IMAGES), f"'{name}' cannot be a layer's name, for")


@pytest.mark.parametrize(("one", "other"), [("a", "a.b"), ("a.b.c", "a"), ("c.weight", "c")])
def test_names_that_begin_others(one: str, other: str) -> None:
    def build(graph: Graph) -> None:
        graph.linear(other, graph.position(one, graph.tokens(IMAGES), init_std=1), 3, bias=False)

    refused(build, f"cannot be called both '{one}' and '{other}', for one name begins the other")


def test_names_beside_each_other() -> None:
    graph = Graph("right", (6, 7), 8)
    for name in ("a.b", "a.bc", "ab", "layers.0.layers.0", "a.c"):
        graph.prelu(name, IMAGES)


@pytest.mark.parametrize("position", [3, -2, None, "a", 0.5])
def test_places_without_a_layer(position: Any) -> None:
    for build in (
        lambda graph: graph.prelu("a", position),
        lambda graph: graph.dropout(position, 0.5),
        lambda graph: graph.linear("a", position, 3, bias=True),
        lambda graph: graph.add(IMAGES, position),
    ):
        refused(build, f"has nothing at {position!r}; give a layer IMAGES, or what a method of")


def masked(graph: Graph, name: str = "mask") -> int:
    return graph.mask_tokens(name, graph.tokens(IMAGES), 0.5)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda g: g.flatten(masked(g)), r"\(Flatten\) takes all tokens, but 'mask' leaves some"),
        (lambda g: g.dropout(masked(g), 0.5), r"'dropout' \(Dropout\) takes all tokens"),
        (lambda g: g.position("p", masked(g), init_std=1), r"'p' \(Position\) takes all tokens"),
        (lambda g: g.mask_tokens("n", masked(g), 0.5), "put restore_tokens between"),
        (lambda g: g.flatten(g.layer_norm("n", masked(g))), "takes all tokens, but 'mask'"),
        (lambda g: g.add(g.tokens(IMAGES), masked(g)), r"\(Add\) takes all tokens, but 'mask'"),
        (lambda g: g.add(masked(g), masked(g, "other")), r"\(Add\) takes all tokens, but 'other'"),
        (
            lambda g: g.restore_tokens("r", masked(g), "nosuch", init_std=1),
            "'r' restores masked='nosuch', but stands behind the masking 'mask'; give masked='ma",
        ),
        (lambda g: g.restore_tokens("r", masked(g), "", init_std=1), "behind the masking 'mask'"),
        (
            lambda g: g.restore_tokens("r", g.tokens(IMAGES), "mask", init_std=1),
            "but stands where no tokens are masked; give masked=''",
        ),
    ],
)
def test_masked_tokens(build: Callable[[Graph], Any], words: str) -> None:
    refused(build, words)


def test_what_stands_between_masking_and_restoring() -> None:
    graph = Graph("right", (6, 7), 8)
    x = masked(graph)
    y = graph.linear("linear", graph.layer_norm("norm", x), 3, bias=True)
    y = graph.drop_path("path", graph.relu6(graph.attention("attn", y, 3, init_std=1)), 0.5)
    x = graph.restore_tokens("token", graph.add(x, y), "mask", init_std=1)
    assert graph.shape(graph.flatten(graph.dropout(x, 0.5))) == (6 * 7 * 3,)
