"""The neutral descriptions: published names and sizes, layouts, weights files."""

import os

import numpy as np
import pytest
from runs import save_checkpoint

from marginface import MarginfaceError, backbones
from marginface.runs.checkpoints import Checkpoint


@pytest.mark.parametrize(
    ("name", "entries", "millions"),
    [
        ("iresnet18", 187, 24.03),
        ("iresnet34", 331, 34.14),
        ("iresnet50", 475, 43.59),
        ("iresnet100", 925, 65.16),
        ("iresnet200", 1807, 118.83),
        ("ir18", 179, 24.02),
        ("ir34", 323, 34.13),
        ("ir50", 467, 43.59),
        ("ir101", 917, 65.15),
        ("ir_se18", 195, 24.11),
        ("ir_se34", 355, 34.29),
        ("ir_se50", 515, 43.81),
        ("ir_se101", 1015, 65.52),
        ("ir50_evolve", 349, 43.57),
        ("ir101_evolve", 674, 65.13),
        ("ir152_evolve", 687, 70.74),
        ("ir_se50_evolve", 397, 43.80),
        ("ir_se101_evolve", 772, 65.50),
        ("ir_se152_evolve", 787, 71.15),
        ("mbf", 333, 2.06),
        ("mbf_large", 606, 6.31),
        ("mobilefacenet", 333, 1.20),
        ("vit_t", 150, 19.14),
        ("vit_t_dp005_mask0", 150, 19.14),
        ("vit_s", 150, 76.02),
        ("vit_s_dp005_mask_0", 150, 76.02),
        ("vit_b", 282, 113.83),
        ("vit_b_dp005_mask_005", 282, 113.83),
        ("vit_l_dp005_mask_005", 282, 255.68),
        ("edgeface_xxs", 160, 1.24),
        ("edgeface_xs_gamma_06", 257, 1.77),
        ("edgeface_s_gamma_05", 257, 3.65),
        ("edgeface_base", 214, 18.23),
        ("ghostfacenet_v1", 562, 4.04),
        ("ghostfacenet_v1_s1", 562, 4.06),
    ],
)
def test_published_sizes(name: str, entries: int, millions: float) -> None:
    """Entries of the published state_dicts, which count BatchNorm's batch counters too."""
    parameters = backbones.describe(name).parameters()
    counters = sum(key.endswith("running_var") for key in parameters)
    assert len(parameters) + counters == entries
    learned = sum(int(np.prod(p.shape)) for k, p in parameters.items() if "running" not in k)
    assert learned / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize(
    "name",
    ["iresnet18", "ir_se18", "mbf", "mobilefacenet", "vit_t", "edgeface_xxs", "ghostfacenet_v1"],
)
def test_what_does_not_decay(name: str) -> None:
    """Every vector; position arrays, the mask token and temperatures, too."""
    graph = backbones.describe(name)
    vectors = {key for key, p in graph.parameters().items() if len(p.shape) == 1}
    others = {"pos_embed", "mask_token"} if name == "vit_t" else set()
    others |= {key for key in graph.parameters() if key.endswith("temperature")}
    assert graph.undecayed() == vectors | others


@pytest.mark.parametrize("name", ["iresnet18", "ir_se18", "mbf", "mobilefacenet", "edgeface_xxs"])
@pytest.mark.parametrize("framework", ["torch", "tf"])
def test_layouts_are_undone_exactly(name: str, framework: str) -> None:
    graph = backbones.describe(name, 32, (32, 32) if name != "iresnet18" else (112, 112))
    layouts = backbones.layouts(graph, framework)
    for key, array in backbones.initial_weights(graph, 0).items():
        turned = layouts[key].to_framework(array)
        assert turned.shape == layouts[key].shape
        np.testing.assert_array_equal(layouts[key].to_canonical(turned), array)


def test_fully_connected_layout_follows_channels_last() -> None:
    graph = backbones.describe("iresnet18", 4, (32, 32))
    weight = np.arange(4 * 512 * 2 * 2, dtype=np.float32).reshape(4, 2048)
    features = np.random.default_rng(0).normal(size=(512, 2, 2)).astype(np.float32)
    turned = backbones.layouts(graph, "tf")["fc.weight"].to_framework(weight)
    first = weight @ features.reshape(-1)
    last = features.transpose(1, 2, 0).reshape(-1) @ turned
    np.testing.assert_allclose(first, last, rtol=1e-4)


def test_an_unknown_framework_has_no_layouts() -> None:
    with pytest.raises(MarginfaceError, match="unknown framework 'pytorch'; did you mean 'torch'"):
        backbones.layouts(backbones.describe("mbf"), "pytorch")


def test_weights_are_drawn_by_seed() -> None:
    graph = backbones.describe("mbf", 16)
    one, same, other = (backbones.initial_weights(graph, seed) for seed in (0, 0, 1))
    assert all((one[key] == same[key]).all() for key in one)
    assert any((one[key] != other[key]).any() for key in one)


def test_weights_file_round_trip(tmp_path) -> None:
    graph = backbones.describe("mobilefacenet", 16)
    weights = backbones.initial_weights(graph, 0)
    backbones.write_weights(tmp_path / "w.safetensors", weights)
    found = backbones.read_weights(tmp_path / "w.safetensors")
    assert found.keys() == weights.keys()
    assert all((found[key] == weights[key]).all() for key in weights)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_files_of_arrays_follow_the_umask(tmp_path) -> None:
    before = os.umask(0o027)
    try:
        backbones.write_weights(tmp_path / "w.safetensors", {"a": np.ones(2)})
        folder = save_checkpoint(tmp_path, Checkpoint(1, {"a": np.ones(2)}, {}))
    finally:
        os.umask(before)
    files = [tmp_path / "w.safetensors", *folder.iterdir()]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o640"}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_decorations_are_dropped(prefix: str) -> None:
    graph = backbones.describe("mbf", 16)
    weights = {f"{prefix}{k}": v for k, v in backbones.initial_weights(graph, 0).items()}
    weights[f"{prefix}layers.0.layers.1.num_batches_tracked"] = np.array(7)
    weights["n_averaged"] = np.array(7)
    assert list(backbones.check_weights(graph, weights)) == list(graph.parameters())


@pytest.mark.parametrize("kind", ["complex64", "complex128", "U1", "S1", "O", "M8[s]"])
def test_weights_are_real_numbers(kind: str) -> None:
    """The imaginary part of complex ones would go without a word."""
    graph = backbones.describe("mbf", 16)
    weights = backbones.initial_weights(graph, 0)
    name = "features.layers.2.weight"
    wrong = weights | {name: np.zeros(weights[name].shape, kind)}
    line = rf"parameter '{name}' is of type .*, expected real numbers; convert it to float32$"
    with pytest.raises(MarginfaceError, match=line) as caught:
        backbones.check_weights(graph, wrong)
    assert f"of type {np.dtype(kind)}," in str(caught.value)


@pytest.mark.parametrize("kind", ["float64", "float16", "int32", "uint8", "bool", "bfloat16"])
def test_weights_of_any_real_type_fit(kind: str) -> None:
    if kind == "bfloat16":
        pytest.importorskip("ml_dtypes")  # which makes it known to NumPy
    graph = backbones.describe("mbf", 16)
    weights = {k: v.astype(kind) for k, v in backbones.initial_weights(graph, 0).items()}
    assert {v.dtype for v in backbones.check_weights(graph, weights).values()} == {np.dtype(kind)}


def test_misfits_are_named(tmp_path) -> None:
    graph = backbones.describe("mbf", 16)
    weights = backbones.initial_weights(graph, 0)
    wrong = weights | {"features.layers.2.weight": np.zeros((512, 512), np.float32)}
    with pytest.raises(MarginfaceError, match=r"features\.layers\.2\.weight.*\(512, 512\).*\(16"):
        backbones.check_weights(graph, wrong)
    with pytest.raises(MarginfaceError, match=r"1 of .* missing, the first is 'conv_sep"):
        backbones.check_weights(
            graph, {k: v for k, v in weights.items() if k != "conv_sep.layers.0.weight"}
        )
    with pytest.raises(MarginfaceError, match="not the backbone's, the first is 'extra'"):
        backbones.check_weights(graph, weights | {"extra": np.zeros(1)})
    with pytest.raises(MarginfaceError, match="did you mean 'iresnet50'"):
        backbones.describe("iresnet5O")
    with pytest.raises(MarginfaceError, match="would be left with no pixels"):
        backbones.describe("iresnet18", input_size=(0, 112))
    endless = b'{"a":{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0]}}'
    for content, words in (
        (b"\xff" * 64, "not a whole safetensors file"),
        (len(endless).to_bytes(8, "little") + endless, "a has the shape of no array"),
    ):
        (tmp_path / "w.safetensors").write_bytes(content)
        with pytest.raises(MarginfaceError, match=words):
            backbones.read_weights(tmp_path / "w.safetensors")
    with pytest.raises(
        MarginfaceError,
        match=r"no such file or folder: .*absent\.pt; expected a \.safetensors, P.* a run folder",
    ):
        backbones.read_weights(tmp_path / "absent.pt")


def test_noise_has_a_stream_of_its_own() -> None:
    """Apart from that of weights and of the loss's draws, at every step."""
    graph = backbones.describe("mbf", dropout=0.5)
    others = [[0], *([0, step] for step in range(4))]
    drawn = [graph.draw(np.random.default_rng(each), 1)["dropout"] for each in others]
    for step in range(4):
        own = backbones.draw_backbone(graph, 0, step, 1)["backbone.dropout"]
        assert not any((own == other).all() for other in drawn)
        drawn.append(own)


def test_bfloat16_of_safetensors_is_read_exactly(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    given = torch.tensor([[1.0, -2.5e-3], [3e38, 0.0]]).bfloat16()
    save_file({"a.weight": given, "b": torch.ones(3)}, tmp_path / "w.safetensors")
    read = backbones.read_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(read["a.weight"], given.float().numpy())
    assert {each.dtype for each in read.values()} == {np.dtype(np.float32)}
