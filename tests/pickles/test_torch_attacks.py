"""Files of PyTorch that ask for code, memory or what is not theirs are refused in one line."""

from __future__ import annotations

import os
import re
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_files import Call, Outside, pickled, row, storage, view, zipped

from marginface.backbones import read_weights
from marginface.errors import MarginfaceError
from marginface.pickles.torch_files import read_torch_file


def refusal(path: Path) -> str:
    with pytest.raises(MarginfaceError) as caught:
        read_torch_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path} holds ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("form", ["zip", "row"])
def test_nothing_of_a_malicious_file_is_run(tmp_path, form):
    marker, path = tmp_path / "was here", tmp_path / "a.pt"
    value = {"a": Call(os.system, f"touch '{marker}'"), "b": 1}
    zipped(path, value, {}) if form == "zip" else row(path, value, (), ())
    assert f"it asks for {os.system.__module__}.system, and nothing of it was run" in refusal(path)
    assert not marker.exists()
    assert torch.load(path, weights_only=False) == {"a": 0, "b": 1}  # which runs it
    assert marker.exists()


LARGE = 2**40
REFUSED: dict[str, tuple[Any, str]] = {
    "a storage larger than the file": (
        view((LARGE,), (1,), held=storage(LARGE)),
        "a storage of 1099511627776 numbers",
    ),
    "a storage of fewer numbers": (view((5,), (1,), held=storage(5)), "not those of its numbers|5"),
    "a storage of less than none": (view((0,), (1,), held=storage(-6)), "a storage of -6 numbers"),
    "a storage that is missing": (
        view((6,), (1,), held=storage(6, "1")),
        "storage '1' has|'0' that nothing names",
    ),
    "a storage that leads elsewhere": (
        view((6,), (1,), held=storage(6, "../../etc/passwd")),
        "storage '../../etc/passwd' has|'0' that nothing names",
    ),
    "a storage of a number": (view((6,), (1,), held=storage(6, 0)), "type and key expected"),
    "a storage of a type that is none": (
        view((6,), (1,), held=storage(6, kind=torch.Size)),
        "type and key expected",
    ),
    "a storage of two types": (
        [view((6,), (1,)), view((6,), (1,), held=storage(6, kind=torch.IntStorage))],
        "two storages with the key '0'",
    ),
    "a part of a storage": (
        view((6,), (1,), held=Outside(("storage", torch.FloatStorage, "0", "cpu", 6, ("1", 0, 3)))),
        "part of another|a storage's name expected",
    ),
    "what is no storage": (
        Outside(("module", torch.nn.Linear, "a.py", "")),
        "Linear|name expected",
    ),
    "a tensor beyond its storage": (view((7,), (1,)), r"of shape \(7,\) beyond its storage of 6"),
    "a tensor that begins too late": (view((2,), (1,), 5), "beyond its storage"),
    "a tensor that begins before": (view((2,), (1,), -1), "arguments of torch's _rebuild_tensor"),
    "a tensor that goes backwards": (view((2,), (-1,), 5), "arguments of torch's _rebuild_tensor"),
    "a shape below zero": (view((-2,), (1,)), "arguments of torch's _rebuild_tensor"),
    "more strides than sizes": (view((2,), (1, 1)), "arguments of torch's _rebuild_tensor"),
    "sizes that are no numbers": (view((2.0,), (1,)), "arguments of torch's _rebuild_tensor"),
    "a shape that is a list": (view([2], (1,)), "arguments of torch's _rebuild_tensor"),
    "one number for very many": (view((LARGE, LARGE), (0, 0)), "a tensor of shape"),
    "no number, in a vast shape": (view((0, LARGE, LARGE), (1, 1, 1)), "a tensor of shape"),
    "too many dimensions": (view((1,) * 65, (1,) * 65), "arguments of torch's _rebuild_tensor"),
    "a tensor of no storage": (
        view((6,), (1,), held=OrderedDict()),
        "arguments of torch's _rebuild",
    ),
    "a function that is called by another": (
        Call(torch._tensor._rebuild_from_type_v2, torch.Size, torch.Tensor, ((1,),), {}),
        "arguments of torch's _rebuild_from_type_v2",
    ),
    "a quantised tensor": (Call(torch._utils._rebuild_qtensor), "torch._utils._rebuild_qtensor"),
    "a sparse tensor": (Call(torch._utils._rebuild_sparse_tensor), "_rebuild_sparse_tensor"),
    "a type that NumPy lacks": ([torch.float8_e4m3fn], "asks for torch.float8_e4m3fn"),
}


@pytest.mark.parametrize("write", [zipped, row])
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_state_dict_has_is_named(tmp_path, name, write):
    value, words = REFUSED[name]
    assert re.search(words, refusal(write(tmp_path / "a.pt", {"a": value})))


@pytest.mark.parametrize("write", [zipped, row])
def test_one_number_for_many_is_refused_where_it_is_asked_for(tmp_path, write):
    path = write(tmp_path / "a.pt", {"a": view((100_000,), (0,)), "b": view((6,), (1,))})
    found = read_torch_file(path)
    assert found["b"].array().tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(
        MarginfaceError, match=r"\(100000,\) that is expanded to more than the file"
    ):
        found["a"].array()


def test_what_a_key_that_takes_long_to_hash_names_is_left_out(tmp_path):
    keys = b"K\x01" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(60))  # 2 ** 60 numbers
    for content in (
        pickled({(1, 2): 3, 2**70: 4}),
        b"\x80\x02}" + keys + b"K\x02s.",
        b"\x80\x02ccollections\nOrderedDict\n((" + keys + b"K\x02ll\x85R.",
    ):
        assert read_torch_file(zipped(tmp_path / "a.pt", content, {})) == {}


def test_storages_in_a_row_are_those_that_are_named(tmp_path):
    value = {"a": view((6,), (1,))}
    for keys, counts, words in (
        ((), (), "a storage is missing"),
        (("0", "0"), (6, 6), "'0' that nothing names, or a second time"),
        (("0", "1"), (6, 6), "'1' that nothing names"),
        ((0,), (6,), "a storage 0 that nothing names"),
        ("0", (5,), "has 5 numbers, expected 6"),
    ):
        assert words in refusal(row(tmp_path / "a.pt", value, keys, counts))
    path = row(tmp_path / "a.pt", value)
    path.write_bytes(path.read_bytes()[:-1])
    assert "the file ends within storage '0'" in refusal(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    value = {"a": view((10**8,), (1,), held=storage(10**8, kind=torch.ByteStorage))}
    path = zipped(tmp_path / "a.pt", value, {"0": bytes(10**8)}, compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    assert "is compressed or encrypted" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_entries_that_are_not_where_they_should_be(tmp_path):
    value = {"a": view((6,), (1,))}
    whole = zipped(tmp_path / "a.pt", value).read_bytes()
    path = tmp_path / "b.pt"
    for change, words in (
        (lambda content: content.replace(b"PK\3\4", b"PK\3\5"), "is not where it should be"),
        (lambda content: _directory(content, 20, 2 * (2**31).to_bytes(4, "little")), "larger than"),
        (lambda content: _directory(content, 8, b"\1"), "compressed or encrypted"),
        (lambda content: content.replace(b"model/data/0", b"model/data/1"), "storage '0' has 0"),
    ):
        path.write_bytes(whole[:4] + change(whole)[4:])
        assert words in refusal(path)
    assert "order of bytes is b'middle'" in refusal(zipped(path, value, byteorder=b"middle"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of the name
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("model/data/0", bytes(24))
    assert "two entries have one name" in refusal(path)


def _directory(content: bytes, at: int, new: bytes) -> bytes:
    """Change the last entry of a zip's directory."""
    begin = content.rindex(b"PK\1\2") + at
    return content[:begin] + new + content[begin + len(new) :]


def test_as_much_memory_is_taken_as_the_file_has(tmp_path):
    """However many tensors view a storage; half precision becomes float32."""
    held = storage(10**6, kind=torch.BFloat16Storage)
    many = [view((1000, 1000), (1000, 1), held=held) for _ in range(200)]
    path = zipped(tmp_path / "a.pt", many, {"0": bytes(2 * 10**6)})
    tracemalloc.start()
    arrays = [tensor.array() for tensor in read_torch_file(path)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(array.shape == (1000, 1000) for array in arrays)
    assert peak < 6 * path.stat().st_size


PAIRS = b"](" + b"".join(b"(M" + n.to_bytes(2, "little") + b"Nl" for n in range(2000)) + b"e"
BOMBS = {
    "dictionaries": b"(" + b"}" * 200_000 + b"t.",
    "nested dictionaries": b"}" + b"K\x01}" * 100_000 + b"s" * 100_000 + b".",
    "dictionaries of one list": b"ccollections\nOrderedDict\nq\x00"
    + (PAIRS + b"\x85q\x01(" + b"h\x00h\x01R" * 100_000 + b"t.."),
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded_by_the_size_of_the_file(tmp_path, name):
    path = zipped(tmp_path / "a.pt", BOMBS[name], {})
    tracemalloc.start()
    with suppress(MarginfaceError):
        read_torch_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25 * path.stat().st_size + 20_000_000


SHARED = b"(" * 60 + b"K\x01" + b"".join(b"q%ch%cl" % (n, n) for n in range(60))
ENDLESS = {
    "lists that are shared, level by level": SHARED,
    "tuples in tuples": b")" + b"\x85" * 50_000,
}
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"


@pytest.mark.parametrize("value", ENDLESS.values(), ids=ENDLESS)
def test_what_would_be_without_end_is_not_written_out(tmp_path, value):
    """A few hundred bytes whose text would have 2 ** 60 parts, and what is too deep to write."""
    path = zipped(tmp_path / "a.pt", b"\x80\x02" + STORAGE + value + b"tQ.", {})
    assert "a storage's count, type and key expected" in refusal(path)
    whole, value = row(tmp_path / "b.pt", {}, ["key"], ()).read_bytes(), b"\x80\x02" + value + b"."
    for part, replaced, words in (
        (pickled(1001, None), value, "version of type (list|tuple) is not known"),
        (pickled(["key"], None), b"\x80\x02](" + value[2:-1] + b"e.", "storage of type .* that no"),
    ):
        assert whole.count(part) == 1
        path.write_bytes(whole.replace(part, replaced))
        assert re.search(words, refusal(path))


def test_bytes_that_are_neither_true_nor_false(tmp_path):
    held = storage(3, kind=torch.BoolStorage)
    path = zipped(tmp_path / "a.pt", {"a": view((3,), (1,), held=held)}, {"0": b"\0\1\xff"})
    array = read_torch_file(path)["a"].array()
    assert array.tolist() == [False, True, True]
    assert array.view(np.uint8).tolist() == [0, 1, 1]


@pytest.mark.parametrize("write", [zipped, row])
def test_a_file_cut_short_anywhere_is_refused(tmp_path, write):
    path = write(tmp_path / "a.pt", {"a": view((6,), (1,)), "b": [1, 0.5, "c"]})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refusal(path)


def test_lists_within_themselves_end(tmp_path):
    loop = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01h\x00s."  # a dictionary that holds itself
    assert set(read_torch_file(zipped(tmp_path / "a.pt", loop, {}))) == {"a"}
    assert pickled({}) != loop


def nested(depth: int, names: str) -> dict[str, Any]:
    """Return dictionaries in one another, each under several names."""
    inner: Any = view((6,), (1,))
    for _ in range(depth):
        inner = dict.fromkeys(names, inner)
    return {"levels": inner}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a", "holds no arrays"),  # of a dictionary that holds itself under this name
        ("model", "holds no arrays"),
        (nested(200, "a"), "more than 100 deep"),
        (nested(60, "ab"), None),
    ],
    ids=["itself", "itself, where weights are", "too deep", "shared, level by level"],
)
def test_dictionaries_of_dictionaries_are_read_to_an_end(tmp_path, value, words):
    if isinstance(value, str):
        loop: dict[str, Any] = {}
        loop[value] = value = loop
    path = zipped(tmp_path / "a.pt", value, {"0": bytes(24)})
    if words is None:
        assert len(read_weights(path)) == 2
        return
    with pytest.raises(MarginfaceError, match=words):
        read_weights(path)
