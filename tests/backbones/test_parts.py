"""How the parts of a backbone are named, and what is said of one that is not there."""

import pytest
from networks import NETWORKS

from marginface import backbones
from marginface.backbones.graph import IMAGES
from marginface.backbones.parts import Tuning, layers_of, parts
from marginface.errors import MarginfaceError

STAGES = ["layer1", "layer2", "layer3", "layer4"]
PARTS = {
    "iresnet18": ["stem", *STAGES, "bn2", "fc", "features"],
    "iresnet200": ["stem", *STAGES, "bn2", "fc", "features"],
    "ir_se50_evolve": ["stem", *(f"body.{i}" for i in range(24)), "output_layer"],
    "mbf": [*(f"layers.{i}" for i in range(8)), "conv_sep", "features"],
    "mobilefacenet": ["stem", *(f"blocks.{i}" for i in range(15)), "conv2", "linear7", "linear1"],
    "edgeface_xxs": ["stem", *(f"stages.{i}" for i in range(4)), "head.norm", "head.fc"],
    "vit_s": ["stem", *(f"blocks.{i}" for i in range(12)), "norm", "mask_token", "feature"],
}


def describe(name):
    return backbones.describe(name, 32)


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_named_as_parameters_are(name):
    assert list(parts(describe(name))) == PARTS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_array_is_in_one_part(name):
    graph = describe(name)
    layers = [layer for each in parts(graph).values() for layer in each]
    assert sorted(layers) == sorted(layers_of(graph, "backbone")) == sorted(set(layers))
    assert Tuning().factors(graph).keys() == {
        *(f"backbone.{array}" for array in graph.parameters()),
        *("head.weight", "head.bias"),
    }


def test_a_network_of_ones_own_has_parts_too():
    def build(graph, _):
        x = graph.conv("first", IMAGES, 4, 8, stride=8)
        x = graph.conv("second.conv", x, 4, 2, stride=2)
        graph.linear("embed", graph.flatten(x), graph.embedding_size, bias=False)

    backbones.register_backbone("tiny_parts", build)
    graph = describe("tiny_parts")
    assert list(parts(graph)) == ["first", "second", "embed"]
    factors = Tuning(layer_decay=0.5).factors(graph)
    weights = ("first", "second.conv", "embed")
    assert [factors[f"backbone.{name}.weight"] for name in weights] == [0.25, 0.5, 1]


def test_rows_and_places_within_a_part_can_be_named():
    graph = describe("vit_t")
    assert len(layers_of(graph, "blocks")) == 12 * len(layers_of(graph, "blocks.11"))
    assert layers_of(graph, "blocks.1.mlp") == ["blocks.1.mlp.fc1", "blocks.1.mlp.fc2"]
    assert layers_of(graph, "stem") == ["patch_embed.proj", "pos_embed"]


def test_layer_decay_goes_from_the_last_of_the_row_to_the_stem():
    factors = Tuning(layer_decay=0.5, lr_factor={"layer4": 4, "bn2": 3, "head": 2}).factors(
        describe("iresnet18")
    )
    names = ("conv1", "layer1.0.bn1", "layer3.1.bn1", "layer4.0.bn1", "bn2", "fc")
    found = [factors[f"backbone.{name}.weight"] for name in names]
    assert found == [0.5**5, 0.5**4, 0.5**2, 4 * 0.5, 3, 1]
    assert factors["head.weight"] == factors["head.bias"] == 2


def test_steps_are_counted_from_0():
    tuning = Tuning(freeze=("stem",), unfreeze_at=3)
    assert [tuning.frozen_at(step) for step in range(5)] == [True] * 3 + [False] * 2
    assert Tuning(freeze=("stem",)).frozen_at(10**9)
    assert not Tuning().frozen_at(0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "layer5",
            "unknown part 'layer5'; did you mean 'layer4'? (parts of iresnet18: stem, layer1 to "
            "layer4, bn2, fc, features; backbone for all",
        ),
        ("Stem", "did you mean 'stem'"),
        ("", "unknown part '' (parts of iresnet18: stem"),
        ("layer1.", "unknown part 'layer1.'; did you mean 'layer1'"),
    ],
)
def test_a_part_that_is_not_there(name, message):
    for tuning in (Tuning(freeze=(name,)), Tuning(lr_factor={name: 0.5})):
        with pytest.raises(MarginfaceError) as caught:
            tuning.check(describe("iresnet18"))
        assert message in str(caught.value)


def test_what_was_meant_may_be_a_row_or_the_head():
    with pytest.raises(MarginfaceError, match="did you mean 'blocks'"):
        layers_of(describe("vit_t"), "block")
    words = r"did you mean 'head'\? .*; backbone for all; head for the class weights\)"
    with pytest.raises(MarginfaceError, match=words):
        Tuning(lr_factor={"heads": 2}).check(describe("iresnet18"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr_factor": {"fc": -1}}, "lr_factor of fc must be a finite number above 0, got -1"),
        ({"lr_factor": {"fc": float("nan")}}, "lr_factor of fc must be a finite number"),
        ({"lr_factor": {"head": 0}}, "the head always learns"),
        ({"lr_factor": {"fc": 0}}, "to hold it still give --freeze fc"),
        ({"layer_decay": 0}, "layer_decay must be above 0, at most 1, got 0"),
        ({"layer_decay": float("nan")}, "layer_decay must be above 0"),
        ({"freeze": ("head",)}, "the head always learns"),
        ({"unfreeze_at": 5}, "unfreeze_at 5 has no effect without freeze"),
        ({"freeze": ("fc",), "unfreeze_at": 0}, "unfreeze_at must be 1 or more, got 0"),
    ],
)
def test_numbers_out_of_range(values, message):
    with pytest.raises(MarginfaceError, match=message):
        Tuning(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr_factor": {"layer1": 0.1}}, "lr_factor of layer1 has no effect"),
        ({"layer_decay": 0.9}, "layer_decay 0.9 has no effect"),
        ({"frozen_statistics": True}, "no BatchNorm whose weights learn"),
    ],
)
def test_what_would_have_no_effect(values, message):
    frozen, graph = ("backbone",), describe("iresnet18")
    with pytest.raises(MarginfaceError, match=message):
        Tuning(freeze=frozen, **values).check(graph)
    Tuning(freeze=frozen, unfreeze_at=3, **values).check(graph)
    Tuning(freeze=("stem",), **values).check(graph)


def test_the_step_may_move_while_the_parts_rest():
    def tuning(step):
        return Tuning(freeze=("stem",), unfreeze_at=step)

    for before, now, at in ((None, 5, 5), (8, 5, 5), (5, 9, 5), (3, 3, 5), (None, None, 5)):
        tuning(now).check_change(tuning(before), at)
    with pytest.raises(MarginfaceError, match="learn since step 4, and the run is at step 5"):
        tuning(9).check_change(tuning(4), 5)
    for late in (4, None):
        with pytest.raises(MarginfaceError, match="is at step 5; give --unfreeze-at 5 or more"):
            tuning(late).check_change(tuning(7), 5)


def test_a_run_that_ends_before():
    with pytest.raises(MarginfaceError, match="unfreeze_at 10 is never reached: the run has 10"):
        Tuning(freeze=("stem",), unfreeze_at=10).check_reached(10)
    Tuning(freeze=("stem",), unfreeze_at=9).check_reached(10)
