"""Weights files: written by one framework, read by the other, with no bit lost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays
from frameworks import Framework, lively_weights

from marginface import MarginfaceError, backbones

GRAPHS = [
    ("mobilefacenet", (32, 32)),
    ("mbf", (32, 32)),
    ("iresnet18", (32, 48)),
    pytest.param("ir_se18", (32, 48), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "size"), GRAPHS)
def test_round_trip_is_exact(
    torch: Framework, tf: Framework, name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    graph = backbones.describe(name, 16, size)
    weights = lively_weights(graph, 0)
    source: Any = weights
    for number, framework in enumerate((torch, tf, torch)):
        made = framework.backend.create_backbone(name, 16, input_size=size, seed=1)
        framework.backend.load_weights(made, source)
        source = tmp_path / f"{number}.safetensors"
        framework.backend.save_weights(made, source)
    assert_same_arrays(backbones.read_weights(source), weights, rtol=0)
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict_backbone"])
def test_insightface_file(
    framework: Framework, torch: Framework, prefix: str, wrapper: str | None, tmp_path: Path
) -> None:
    """A state_dict as arcface_torch saves it: batch counters, DataParallel's prefix, wrapped."""
    graph = backbones.describe("iresnet18", 16, (32, 32))
    weights = lively_weights(graph, 0)
    tensors = {prefix + name: torch.torch.tensor(value) for name, value in weights.items()}
    for name in weights:
        if name.endswith("running_var"):
            counter = name.replace("running_var", "num_batches_tracked")
            tensors[prefix + counter] = torch.torch.tensor(7)
    path = tmp_path / "model.pt"
    torch.torch.save({wrapper: tensors, "epoch": 3} if wrapper else tensors, path)
    made = framework.backend.create_backbone("iresnet18", 16, input_size=(32, 32), seed=1)
    framework.backend.load_weights(made, path)
    assert_same_arrays(framework.backend.backbone_arrays(made), weights, rtol=0)


def test_wrappers_of_pytorch(torch: Framework) -> None:
    """What they save loads; they themselves are refused with the way to what they hold."""
    graph = backbones.describe("mobilefacenet", 16, (32, 32))
    weights = lively_weights(graph, 0)
    bare, module = torch.backbone(graph, weights), torch.torch.nn
    compiled = torch.torch.compile(bare)
    averaged = torch.torch.optim.swa_utils.AveragedModel(bare)
    for wrapped in (compiled, averaged, module.DataParallel(bare), module.DataParallel(compiled)):
        saved = {name: torch.array(value) for name, value in wrapped.state_dict().items()}
        assert_same_arrays(backbones.check_weights(graph, saved), weights, rtol=0)
        with pytest.raises(MarginfaceError, match=r"; pass its \.(module|_orig_mod)$"):
            torch.backend.backbone_arrays(wrapped)


def test_published_names_are_pytorchs(torch: Framework) -> None:
    """The module's own state_dict has the canonical names, and counters besides."""
    graph = backbones.describe("iresnet18", 16, (32, 32))
    names = torch.backbone(graph, lively_weights(graph, 0)).state_dict()
    assert [n for n in names if not n.endswith("num_batches_tracked")] == list(graph.parameters())


def test_a_changed_bit_is_caught() -> None:
    weights = lively_weights(backbones.describe("mobilefacenet", 16, (32, 32)), 0)
    changed = {name: value.copy() for name, value in weights.items()}
    first = next(iter(changed.values()))
    first.flat[3] = np.nextafter(first.flat[3], 1, dtype=np.float32)
    with pytest.raises(AssertionError):
        assert_same_arrays(changed, weights, rtol=0)
