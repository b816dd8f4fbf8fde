"""Other projects' files are recognised by names and shapes, load, and are written back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marginface import MarginfaceError
from marginface.backbones import IMAGES, Graph, describe, initial_weights, read_weights
from marginface.backbones.naming import (
    NAMINGS,
    find_naming,
    fit_weights,
    recognise,
    state_dict,
    with_epsilon,
    with_pixels,
    write_state_dict,
)
from marginface.backbones.weights import read_file

SIZE = 16
SMALL = {  # a network of each project, its fastest
    "insightface": "mbf",
    "lvface": "vit_t",
    "magface": "iresnet18",
    "adaface": "ir18",
    "cvlface": "ir18",
    "tface": "ir_se18",
    "evolve": "ir50_evolve",
    "treb1en": "ir50_evolve",
    "edgeface": "edgeface_xxs",
    "xiaoccer": "mobilefacenet",
}
PREFIXES = {"magface": "features.module.", "adaface": "model.", "edgeface": "model."}
PREFIXES["cvlface"] = "net."
BESIDE = {"magface": ("fc.weight",), "adaface": ("head.kernel", "head.t", "head.batch_mean")}
_WEIGHTS: dict[str, tuple[Graph, dict[str, Any]]] = {}


def weights(name: str) -> tuple[Graph, dict[str, Any]]:
    if name not in _WEIGHTS:
        graph = describe(name, SIZE)
        _WEIGHTS[name] = graph, initial_weights(graph, 0)
    return _WEIGHTS[name]


def tensors(arrays: Mapping[str, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": torch.from_numpy(array) for name, array in arrays.items()}


def as_published(project: str, path: Path) -> dict[str, Any]:
    """Write a file as a project's own training does; return the weights."""
    _, arrays = weights(SMALL[project])
    state = tensors(arrays, PREFIXES.get(project, ""))
    state |= {
        name.replace("running_var", "num_batches_tracked"): torch.tensor(9)
        for name in list(state)
        if name.endswith("running_var")
    }
    state |= {name: torch.ones(3, SIZE) for name in BESIDE.get(project, ())}
    wrapped = {
        "magface": {"epoch": 25, "arch": "iresnet18", "state_dict": state, "optimizer": {}},
        "adaface": {"epoch": 25, "state_dict": state, "pytorch-lightning_version": "1.8"},
        "xiaoccer": {"epoch": 68, "net_state_dict": state},
    }
    torch.save(wrapped.get(project, state), path)
    return arrays


def assert_equal(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.mark.parametrize("project", [each for each in SMALL if each != "treb1en"])
def test_published_files_are_recognised(project: str, tmp_path: Path) -> None:
    if SMALL[project] in ("vit_t", "ir50_evolve"):  # large, and named as they are here
        expected = weights(SMALL[project])[1]
        found = recognise(expected)
    else:
        expected = as_published(project, tmp_path / "w.pt")
        found = recognise(read_file(tmp_path / "w.pt"))
    assert_equal(found.arrays, expected)
    assert (found.graph.name, found.graph.embedding_size) == (SMALL[project], SIZE)
    assert project in [each.name for each in found.namings]
    account = found.account
    assert set(account.training) == set(BESIDE.get(project, ())) == set(account.left)
    assert len(account.renamed) == (len(expected) if project in PREFIXES else 0)
    groups = account.groups()
    assert ("renamed" in groups, "used" in groups) == (project in PREFIXES, project not in PREFIXES)
    assert sum(map(len, groups.values())) == len(expected) + len(account.left) + len(
        account.outside
    ) + len(account.counters)
    if project == "evolve":
        assert [each.name for each in found.namings] == ["evolve", "treb1en"]
        with pytest.raises(MarginfaceError, match=r"evolve \(rgb\) or treb1en \(bgr\); say which"):
            found.pixels()
        assert found.pixels(channels="bgr")["channels"] == "bgr"
    else:
        assert found.pixels() == find_naming(project).pixels()
        assert found.pixels(std=9)["std"] == 9


def test_every_project_has_a_case() -> None:
    assert list(SMALL) == [each.name for each in NAMINGS]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("project", ["magface", "adaface", "edgeface", "xiaoccer"])
def test_written_files_come_back(project: str, suffix: str, tmp_path: Path) -> None:
    graph, arrays = weights(SMALL[project])
    naming, path = find_naming(project), tmp_path / f"w{suffix}"
    if (project, suffix) == ("xiaoccer", ".safetensors"):  # whose names alone are nobody's
        with pytest.raises(MarginfaceError, match="by the dictionary net_state_dict alone"):
            write_state_dict(path, graph, arrays, naming)
        return
    write_state_dict(path, graph, arrays, naming)
    if suffix == ".pt":
        stored = torch.load(path, weights_only=True)
        stored = stored[naming.wrapper] if naming.wrapper else stored
        for name, tensor in stored.items():
            assert tensor.is_contiguous(), name
    found = recognise(read_file(path))
    back = with_epsilon(found.arrays, found.graph, graph)
    assert_equal(back, arrays)


def test_what_is_written_loads_strictly(tmp_path: Path) -> None:
    """A module that has the names, and PyTorch's counters."""
    graph, arrays = weights("ir18")
    path = tmp_path / "w.pt"
    write_state_dict(path, graph, arrays, find_naming("cvlface"))

    class Published(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Module()
            self.net.input_layer = torch.nn.Sequential(
                torch.nn.Conv2d(3, 64, 3, bias=False), torch.nn.BatchNorm2d(64), torch.nn.PReLU(64)
            )

    module, stored = Published(), torch.load(path, weights_only=True)
    first = {name: each for name, each in stored.items() if name.startswith("net.input_layer")}
    module.load_state_dict(first, strict=True)
    np.testing.assert_array_equal(
        module.net.input_layer[0].weight.detach(), arrays["input_layer.0.weight"]
    )


def small_graph(epsilon: float | None = None) -> Graph:
    graph = Graph("small", (8, 8), 4, batch_norm_epsilon=epsilon)
    x = graph.batch_norm("bn", graph.conv("stem", IMAGES, 6, stride=2, padding=1))
    x = graph.linear("fc", graph.flatten(x), 4, bias=True)
    graph.batch_norm("features", x)
    return graph


def forward(graph: Graph, arrays: Mapping[str, Any], images: Any) -> Any:
    exact = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    return graph.forward(exact, images)


def test_another_epsilon_gives_the_same_embeddings() -> None:
    own, wanted = small_graph(0.3), small_graph()
    arrays = initial_weights(own, 1)
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 8))
    expected = forward(own, arrays, images)
    moved = with_epsilon(arrays, own, wanted)
    np.testing.assert_allclose(forward(wanted, moved, images), expected, rtol=1e-6)
    assert np.abs(forward(wanted, arrays, images) - expected).max() > 0.01


def test_other_pixels_give_the_same_embeddings() -> None:
    graph, rng = small_graph(), np.random.default_rng(0)
    arrays = initial_weights(graph, 1)
    own = ("bgr", (10.0, 20.0, 30.0), (100.0, 110.0, 120.0))
    wanted = ("rgb", (30.0, 20.0, 10.0), (90.0, 80.0, 70.0))
    changed = with_pixels(arrays, graph, own, wanted)
    rgb = rng.integers(256, size=(2, 3, 8, 8))

    def embedded(weights: Mapping[str, Any], prepared: Any) -> Any:
        order, mean, std = prepared
        images = rgb[:, ::-1] if order == "bgr" else rgb
        mean, std = (np.reshape(each, (3, 1, 1)) for each in (mean, std))
        return forward(graph, weights, (images - mean) / std)

    expected = embedded(arrays, own)
    np.testing.assert_allclose(embedded(changed, wanted), expected, rtol=1e-5)
    assert np.abs(embedded(arrays, wanted) - expected).max() > 0.01
    with pytest.raises(MarginfaceError, match=r"mean 30, 20, 10, there they would get mean 0;"):
        with_pixels(arrays, graph, own, ("rgb", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))


def test_weights_of_another_epsilon_are_moved_into_a_network() -> None:
    graph, arrays = weights("iresnet18")
    published = state_dict(graph, arrays, find_naming("magface"))
    name = "features.module.bn1.running_var"
    assert published[name][0] == np.float32(1 - 1e-5)
    assert_equal(fit_weights(graph, published), arrays)
    own = describe("iresnet18", SIZE, batch_norm_epsilon=2e-5)
    assert fit_weights(own, published)["bn1.running_var"][0] == published[name][0]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "net._orig_mod."])
def test_wrappers_of_pytorch_do_not_count(prefix: str) -> None:
    _, arrays = weights("ir18")
    found = recognise({f"{prefix}{name}": array for name, array in arrays.items()})
    project = "cvlface" if prefix.startswith("net") else "tface"
    assert [each.name for each in found.namings] == [project]


def test_a_checkpoint_to_resume_from(tmp_path: Path) -> None:
    _, arrays = weights("mbf")
    checkpoint = {
        "epoch": 1,
        "state_dict_backbone": tensors(arrays),
        "state_dict_softmax_fc": {"weight": torch.ones(5, SIZE)},
        "state_optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}},
    }
    torch.save(checkpoint, tmp_path / "checkpoint_gpu_0.pt")
    found = recognise(read_file(tmp_path / "checkpoint_gpu_0.pt"))
    assert_equal(found.arrays, arrays)
    assert str(found.account).endswith("not read: epoch, state_dict_softmax_fc, state_optimizer")
    with pytest.warns(UserWarning, match="took 'state_dict_backbone'; left 3: 'epoch'"):
        read_weights(tmp_path / "checkpoint_gpu_0.pt")


def test_variants_that_differ_in_training_alone() -> None:
    graph = describe("vit_t_dp005_mask0", SIZE)
    found = recognise(dict(weights("vit_t")[1]))
    assert (found.graph.name, found.alike) == ("vit_t", (graph.name,))
    assert "(or vit_t_dp005_mask0, the same but for training)" in str(found)
    assert recognise(dict(weights("vit_t")[1]), graph.name).graph.name == graph.name


def test_a_prefix_that_is_nobodys() -> None:
    found = recognise({f"encoder.{name}": array for name, array in weights("mbf")[1].items()})
    assert (found.graph.name, found.namings, found.pixels()) == ("mbf", (), {})
    assert "prefix 'encoder.' is no project's (insightface has none): pixels are not" in str(found)


def test_a_prefix_that_is_lacking() -> None:
    said = str(recognise(weights("edgeface_xxs")[1]))
    assert "names without a prefix are no project's (edgeface has model): pixels" in said


def part(name: str, count: int) -> dict[str, Any]:
    return dict(list(weights(name)[1].items())[:count])


BAD = {
    "half of a file": (
        lambda: part("ir18", 80),
        {},
        r"is ir18 of 512 .*, 80 of 149 arrays \(body.4.* is missing\): is the file whole",
    ),
    "another variant": (
        lambda: weights("ir_se18")[1],
        {"backbone": "ir18"},
        "does not fit ir18 .*; it is ir_se18 of 16 numbers from 112x112 pixels, all 165 arrays",
    ),
    "another size": (
        lambda: weights("mbf")[1],
        {"backbone": "mbf", "embedding_size": 8},
        r"does not fit mbf of 8 .*features.layers.2.weight is \[16, 512\] instead of \[8, 512\]",
    ),
    "another project's": (
        lambda: {"conv_first.w": np.ones(3), "conv_last.w": np.ones(3)},
        {},
        "no network that marginface has, and none is near; its arrays are called 'conv_first.w'",
    ),
    "two of them": (
        lambda: {f"{one}.{n}": a for n, a in weights("mbf")[1].items() for one in "ab"},
        {},
        "several backbones, 'a.' and 'b.'",
    ),
    "one in another's place": (
        lambda: (
            {f"a.{n}": a for n, a in weights("mbf")[1].items()}
            | {f"b.{n}": a for n, a in weights("ir18")[1].items()}
        ),
        {},
        "holds mbf at 'a.' and ir18 at 'b.'; say which with --backbone",
    ),
    "with a wrapper and without": (
        lambda: {f"{one}{n}": a for n, a in weights("mbf")[1].items() for one in ("", "module.")},
        {},
        "several backbones, '' and 'module.'",
    ),
    "half behind a wrapper": (
        lambda: part("mbf", 99) | {f"module.{n}": a for n, a in [*weights("mbf")[1].items()][99:]},
        {},
        "all 283 arrays, but behind 'module.' and ''; give all names one prefix",
    ),
    "more of a family": (
        lambda: weights("mbf")[1] | {"layers.9.weight": np.ones(1)},
        {"backbone": "mbf", "embedding_size": SIZE},
        "all 283 arrays, and 1 more that it does not have, such as 'layers.9.weight'",
    ),
    "half, asked for": (
        lambda: part("mbf", 99),
        {"backbone": "mbf", "embedding_size": SIZE},
        r"does not fit mbf of 16 .*, 99 of 283 arrays \(.* is missing\): is the file whole\?$",
    ),
    "broken numbers": (
        lambda: weights("mbf")[1] | {"conv_sep.layers.0.weight": np.full((512, 256, 1, 1), np.nan)},
        {},
        "conv_sep.layers.0.weight has numbers that are NaN",
    ),
    "no arrays": (dict, {}, "holds no arrays"),
    "a name without end": (lambda: {"a." * 10**6: np.ones(1)}, {}, "none is near"),
    "a transformer of CVLface's": (
        lambda: {"net.patch_embed.proj.weight": np.ones((512, 3, 8, 8)), **part("vit_t", 90)},
        {},
        "no network that marginface has: it is a vision transformer on patches of 8 x 8 pixels as "
        r"CVLface's; .* as \.onnx with its own code \(torch\.onnx\.export\), which --model takes$",
    ),
    "one that takes points": (
        lambda: {
            "net.keypoint_linear.weight": np.ones((4704, 10)),
            "net.patch_embed.proj.weight": np.ones((512, 3, 8, 8)),
        },
        {"backbone": "vit_s"},
        "does not fit vit_s .*: it is CVLface's transformer with KPRPE, which takes five points",
    ),
    "no such backbone": (dict, {"backbone": "irs18"}, "did you mean"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_network_is_said_in_one_line(kind: str) -> None:
    make, options, words = BAD[kind]
    with pytest.raises(MarginfaceError, match=words) as caught:
        recognise(make(), **options)
    assert "\n" not in str(caught.value)


def test_one_of_two_networks_is_taken_where_it_is_named() -> None:
    student, teacher = weights("mbf")[1], weights("ir18")[1]
    both = {f"b.{n}": a for n, a in teacher.items()} | {f"a.{n}": a for n, a in student.items()}
    found = recognise(both, "mbf")
    assert_equal(found.arrays, student)
    assert len(found.account.left) == len(teacher)


def test_a_network_tells_whose_weights_it_was_given() -> None:
    graph, _ = weights("ir18")
    lacking = tensors(part("ir18", 80))
    with pytest.raises(MarginfaceError, match=r"69 of 149 parameters are missing, .*backbone\?$"):
        fit_weights(graph, lacking)
    both = weights("ir18")[1] | {f"module.{n}": a for n, a in weights("ir18")[1].items()}
    with pytest.raises(MarginfaceError, match="twice, with and without 'module"):
        fit_weights(graph, both)
    with pytest.raises(MarginfaceError, match=r"149 of 149 parameters are missing.*; it is mbf of"):
        fit_weights(graph, weights("mbf")[1])
    with pytest.raises(MarginfaceError, match="; it is CVLface's transformer with KPRPE"):
        fit_weights(graph, {"net.keypoint_linear.weight": np.ones((4704, 10), np.float32)})


def test_files_of_quantised_networks_are_refused(tmp_path: Path) -> None:
    linear = torch.nn.Sequential(torch.nn.Linear(4, 4))
    with pytest.warns(DeprecationWarning, match="quantization"):
        quantised = torch.ao.quantization.quantize_dynamic(linear, dtype=torch.qint8)
    torch.save(quantised.state_dict(), tmp_path / "q.pt")
    with pytest.raises(MarginfaceError, match="int8 weights of PyTorch's quantisation"):
        read_weights(tmp_path / "q.pt")
