"""Files of PyTorch are read without it as it reads them itself, bit for bit."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections import Counter, OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from real_faces import FACES, needs_faces
from torch_files import assert_same, of_python_2, pickled, row, storage, view, zipped

from marginface import backbones
from marginface.errors import MarginfaceError
from marginface.pickles.torch_files import read_torch_file

FORMS = pytest.mark.parametrize("form", ["zip", "row"])
NUMBERS = torch.tensor([0.0, -0.0, 1.5, -2.0, float("inf"), float("nan"), 3e-5, 6e4])
TYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.complex128, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]
UNSIGNED = [torch.uint16, torch.uint32, torch.uint64]
GRID = torch.arange(24.0).reshape(2, 3, 4)
LAYOUTS = {
    "whole": GRID,
    "transposed": GRID.permute(2, 0, 1),
    "strided": GRID[:, ::2, 1::2],
    "channels last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "tail": GRID[1, 2],
    "one number": GRID[1, 2, 3],
    "repeated": torch.arange(3.0)[:, None].expand(3, 4),
    "empty": torch.zeros(0),
    "empty of two dimensions": torch.zeros(3, 0),
    "parameter": torch.nn.Parameter(torch.ones(2, 2)),
    "asks for gradients": torch.ones(2, requires_grad=True),
}


def saved(path: Path, value: Any, form: str, protocol: int = 2) -> Path:
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form == "zip")
    return path


def check(path: Path, protocol: int = 2) -> None:
    # Safe mode of PyTorch knows no later protocol than 3; these files are our own.
    assert_same(read_torch_file(path), torch.load(path, weights_only=protocol < 4))


@FORMS
def test_every_type_of_number(tmp_path, form):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of casts from complex numbers, and of NaN to integers
        values = {str(kind): NUMBERS.nan_to_num(posinf=9).to(kind) for kind in TYPES}
    values |= {f"{kind} as it is": NUMBERS.to(kind) for kind in TYPES[:6]}
    if form == "zip":  # older files cannot hold them
        values |= {str(kind): torch.tensor([0, 1, 40_000], dtype=kind) for kind in UNSIGNED}
    check(saved(tmp_path / "a.pt", values, form))


@FORMS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_layout(tmp_path, form, protocol):
    check(saved(tmp_path / "a.pt", LAYOUTS, form, protocol), protocol)


@FORMS
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_checkpoint_with_all_that_goes_with_it(tmp_path, form, protocol):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    module(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    value = {
        "epoch": 3,
        "best": 0.125,
        "name": "r50, é",
        "none": None,
        "flags": [True, False],
        "nested": {"deep": {"er": ({"a": torch.ones(1)}, [torch.zeros(2)])}},
        "size": torch.Size([1, 2]),
        "bytes": b"\x00\xff",
        "large": -(2**40),
        "state_dict": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "random": torch.get_rng_state(),
        "ordered": OrderedDict(b=1, a=torch.ones(2)),
    }
    path = saved(tmp_path / "a.pt", value, form, protocol)
    check(path, protocol)
    assert sorted(backbones.read_weights(path)) == sorted(module.state_dict())


@FORMS
def test_what_stands_for_things_of_pytorch(tmp_path, form):
    value = {"set": {4}, "device": torch.device("cpu"), "type": torch.float16}
    found = read_torch_file(saved(tmp_path / "a.pt", value, form))
    assert (found["set"], found["device"], found["type"].name) == ([4], "cpu", "float16")
    counts = read_torch_file(saved(tmp_path / "b.pt", {"steps": Counter([2, 2, 3])}, form))
    assert counts == {"steps": {2: 2, 3: 1}}


@FORMS
def test_what_goes_with_weights_and_is_not_read_leaves_them_be(tmp_path, form):
    """Keys of all types, and views that would have to be worked out."""
    views = {
        "expanded": torch.zeros(1).expand(1000, 1000),
        "conjugate": torch.tensor([1j, 2 + 3j]).conj(),
        "negative": torch.tensor([1j, 2 + 3j]).conj().imag,
    }
    weights, keys = {"a": torch.ones(2)}, {None: 1, 1.5: 2, (1, "b"): torch.ones(1), b"c": 3, 4: 5}
    for name, each in views.items():
        value = {"state_dict": weights, "more": {"view": each, "keys": keys}}
        path = saved(tmp_path / f"{name}.pt", value, form)
        assert torch.load(path, weights_only=True)["more"]["keys"].keys() == keys.keys()
        assert backbones.read_weights(path)["a"].tolist() == [1, 1]
        assert read_torch_file(path)["more"]["keys"] == {4: 5}
        path = saved(path, {"b": each}, form)
        with pytest.raises(MarginfaceError, match=rf"{name}.*; save what its \.clone\(\) returns"):
            backbones.read_weights(path)
        check(saved(path, {"b": each.clone()}, form))


@FORMS
def test_tensors_share_what_they_shared(tmp_path, form):
    base = torch.arange(12.0)
    value = {"all": base, "tail": base[4:], "twice": base, "square": base[:9].reshape(3, 3).T}
    path = saved(tmp_path / "a.pt", value, form)
    check(path)
    found = backbones.read_weights(path)
    assert all(np.shares_memory(found["all"], array) for array in found.values())
    with pytest.raises(ValueError, match="read-only"):
        found["tail"][0] = 1


def test_numbers_with_their_first_byte_last(tmp_path):
    numbers = {"0": np.arange(6, dtype=">f4").tobytes()}
    path = zipped(tmp_path / "a.pt", {"a": view((2, 3), (3, 1))}, numbers, byteorder=b"big")
    assert_same(read_torch_file(path), {"a": torch.arange(6.0).reshape(2, 3)})


def test_files_of_python_2_and_of_the_first_pytorch(tmp_path):
    first = view((2, 3), (3, 1))
    first.call = torch._utils._rebuild_tensor, first.call[1][:4]
    path = row(tmp_path / "a.pt", OrderedDict(a=first))
    expected = {"a": torch.arange(6.0).reshape(2, 3)}
    assert_same(read_torch_file(path), expected)
    content = path.read_bytes()
    for part in (pickled(OrderedDict(a=first), None), pickled(["0"])):
        assert content.count(part) == 1
        content = content.replace(part, of_python_2(part))
    path.write_bytes(content)
    assert_same(read_torch_file(path), expected)


def test_the_writer_of_these_tests_writes_as_pytorch_does(tmp_path):
    """So that what is refused below is refused for what is wrong with it."""
    value = {"a": view((2, 3), (3, 1)), "b": view((2,), (2,), 1)}
    for path in (zipped(tmp_path / "a.pt", value), row(tmp_path / "b.pt", value)):
        assert torch.load(path, weights_only=True)["b"].tolist() == [1, 3]
        check(path)


class Net(torch.nn.Module):
    """A network that somebody saves as a whole."""


@FORMS
def test_a_whole_module_is_named_with_the_way_out(tmp_path, form):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a source that cannot be found
        path = saved(tmp_path / "a.pt", Net(), form)
    with pytest.raises(MarginfaceError, match=r"holds other objects, .* it asks for .*Net, and n"):
        read_torch_file(path)
    path = saved(tmp_path / "b.pt", {"model": torch.nn.Linear(2, 2)}, form)
    with pytest.raises(
        MarginfaceError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict\(\)"
    ):
        read_torch_file(path)


def test_other_files_are_told_from_those_of_pytorch(tmp_path):
    script = zipped(tmp_path / "script", {}, **{"constants.pkl": b"", "code/a.py": b""})
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), tmp_path / "program")
    other_zip = zipped(tmp_path / "zip", {}).read_bytes().replace(b"data.pkl", b"data.txt")
    for name, content, words in (
        ("script.pt", script.read_bytes(), "asks for a TorchScript program"),
        ("program.pt", (tmp_path / "program").read_bytes(), "asks for a TorchScript program"),
        ("tar.pt", bytes(257) + b"ustar" + bytes(1000), "a tar file of PyTorch before"),
        ("numpy.pt", pickle.dumps({"a": np.ones(2)}, 2), "asks for numpy"),
        ("text.pt", b"hello", "memo 101 is missing"),
        ("empty.pt", b"", "it is empty"),
        ("other.pt", pickle.dumps([1], 2), "does not begin as a file of torch.save"),
        ("zip.pt", other_zip, "it is a zip without data.pkl"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MarginfaceError, match=words):
            read_torch_file(tmp_path / name)


def test_what_lightning_and_numpy_leave_beside_weights(tmp_path, monkeypatch):
    """Classes of callbacks, by which AdaFace's files keep their states; a best accuracy."""
    lightning, path = ModuleType("pytorch_lightning"), tmp_path / "a.ckpt"
    callback = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning"})
    lightning.ModelCheckpoint = callback
    monkeypatch.setitem(sys.modules, "pytorch_lightning", lightning)
    beside = {"callbacks": {callback: {"best": GRID}}, "accuracy": np.float64(0.5)}
    torch.save(beside | {"state_dict": {"model.w": GRID}}, path)
    read = read_torch_file(path)
    assert (list(read), read["callbacks"]) == (["callbacks", "accuracy", "state_dict"], {})
    assert_same(read["state_dict"], {"model.w": GRID})
    torch.save({"callback": callback()}, path)
    with pytest.raises(MarginfaceError, match=r"asks for .*, and nothing of it was run"):
        read_torch_file(path)


@needs_faces
def test_a_public_file():
    path = FACES / "weights" / "mobilefacenet_casia_112x96.ckpt"
    expected = torch.load(path, map_location="cpu", weights_only=True)
    assert_same(read_torch_file(path), expected)


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    path = zipped(tmp_path / "a.pt", {"a": view((6,), (1,), held=storage())})
    found = read_torch_file(path)
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(MarginfaceError, match="became shorter"):
        found["a"].array()
