"""A model's digest follows all that it computes with, wherever that is kept, and nothing else."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from marginface import MarginfaceError
from marginface.embeddings.embedder import open_embedder
from marginface.onnx.digest import onnx_digest

RNG = np.random.default_rng(0)
WEIGHTS = {
    "big": RNG.normal(size=(3, 16)).astype(np.float32),
    "narrow": RNG.normal(size=(16, 4)).astype(np.float32),
    "yes": np.array(True),
}
INNER = RNG.normal(size=4).astype(np.float32)


def branch(values: np.ndarray) -> onnx.GraphProto:
    """Return a subgraph whose initialiser meets a constant that an attribute holds."""
    constant = numpy_helper.from_array(values, "constant")
    nodes = [
        helper.make_node("Constant", [], ["one"], value=constant),
        helper.make_node("Add", ["one", "two"], ["out"]),
    ]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [4])
    return helper.make_graph(
        nodes, "branch", [], [out], [numpy_helper.from_array(values * 2, "two")]
    )


def tiny() -> onnx.ModelProto:
    """Return an embedder with weights in its graph and in subgraphs."""
    branches = {"then_branch": branch(INNER), "else_branch": branch(INNER + 1)}
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "big"], ["wide"]),
        helper.make_node("MatMul", ["wide", "narrow"], ["four"]),
        helper.make_node("If", ["yes"], ["shift"], **branches),
        helper.make_node("Add", ["four", "shift"], ["embeddings"], name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(values, name) for name, values in WEIGHTS.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def subgraph(model: onnx.ModelProto) -> onnx.GraphProto:
    return model.graph.node[4].attribute[1].g


TENSORS: dict[str, Callable[[onnx.ModelProto], TensorProto]] = {
    "initialiser": lambda model: model.graph.initializer[0],
    "second file": lambda model: model.graph.initializer[1],
    "subgraph's initialiser": lambda model: subgraph(model).initializer[0],
    "constant in an attribute of a subgraph": lambda model: subgraph(model).node[0].attribute[0].t,
}


def move_out(tensor: TensorProto, folder: Path, location: str, offset: int = 0) -> None:
    """Keep a tensor's elements in a file beside the model, from `offset` on."""
    with (folder / location).open("ab") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(tensor.raw_data + b"padding")
    entries = {"location": location, "offset": offset, "length": len(tensor.raw_data)}
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))


def saved(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def scattered(tmp_path) -> Path:
    """Return the model with its tensors in three files."""
    model = tiny()
    move_out(TENSORS["initialiser"](model), tmp_path, "w.bin", 64)
    move_out(TENSORS["second file"](model), tmp_path, "w.bin", 4096)
    move_out(TENSORS["subgraph's initialiser"](model), tmp_path, "inner.bin")
    move_out(TENSORS["constant in an attribute of a subgraph"](model), tmp_path, "constant.bin")
    return saved(tmp_path / "scattered.onnx", model)


def test_a_model_is_the_same_with_its_tensors_inside_and_beside(scattered, tmp_path):
    assert onnx_digest(scattered) == onnx_digest(saved(tmp_path / "whole.onnx", tiny()))


@pytest.mark.parametrize(
    ("file", "place"), [("w.bin", 64), ("w.bin", 4096 + 255), ("inner.bin", 3), ("constant.bin", 9)]
)
def test_every_external_byte_counts_but_what_lies_between(scattered, tmp_path, file, place):
    before = onnx_digest(scattered)
    content = bytearray((tmp_path / file).read_bytes())
    content[-1] ^= 1  # behind the last tensor
    (tmp_path / file).write_bytes(content)
    assert onnx_digest(scattered) == before
    content[place] ^= 1
    (tmp_path / file).write_bytes(content)
    assert onnx_digest(scattered) != before


def test_who_wrote_a_model_and_its_notes_do_not_count(tmp_path):
    model = tiny()
    before = onnx_digest(saved(tmp_path / "a.onnx", model))
    model.producer_name, model.producer_version, model.model_version = "other", "9", 9
    model.domain, model.doc_string, model.ir_version = "org.other", "words", 9
    helper.set_model_props(model, {"note": "of today", "marginface": "{}"})
    for part in (model.graph, model.graph.node[0], model.graph.initializer[0], subgraph(model)):
        part.doc_string = "words"
        part.metadata_props.add(key="a", value="b")
    model.graph.name = model.graph.node[5].name = "other"
    model.graph.value_info.append(helper.make_tensor_value_info("four", TensorProto.FLOAT, None))
    model.graph.node[0].domain = ""  # set, to what it is where it is not
    assert onnx_digest(saved(tmp_path / "renamed.onnx", model)) == before


CHANGES: dict[str, Callable[[onnx.ModelProto], object]] = {
    "operator": lambda model: setattr(model.graph.node[5], "op_type", "Sub"),
    "wiring": lambda model: model.graph.node[5].input.reverse(),
    "attribute": lambda model: model.graph.node[1].attribute.add(name="axis", i=1, type=2),
    "opset": lambda model: setattr(model.opset_import[0], "version", 16),
    "input": lambda model: model.graph.input[0].type.tensor_type.shape.dim[2].ClearField("value"),
    "custom domain": lambda model: setattr(model.graph.node[0], "domain", "com.other"),
    "branches": lambda model: model.graph.node[4].attribute.reverse(),
    **{
        f"{name} shape": lambda model, of=of: of(model).dims.append(1)
        for name, of in TENSORS.items()
    },
    **{
        f"{name} type": lambda model, of=of: setattr(of(model), "data_type", TensorProto.INT32)
        for name, of in TENSORS.items()
    },
    **{
        f"{name} value": lambda model, of=of: setattr(
            of(model), "raw_data", of(model).raw_data[:-1] + b"\0"
        )
        for name, of in TENSORS.items()
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_computed_with_counts(tmp_path, change):
    model = tiny()
    before = onnx_digest(saved(tmp_path / "a.onnx", model))
    CHANGES[change](model)
    assert onnx_digest(saved(tmp_path / "b.onnx", model)) != before


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (TensorProto.FLOAT, [1.5, -2]),
        (TensorProto.DOUBLE, [1.5, -2]),
        (TensorProto.FLOAT16, [1.5, -2]),
        (TensorProto.BFLOAT16, [1.5, -2]),
        (TensorProto.INT64, [-(2**40), 3]),
        (TensorProto.INT32, [-7, 3]),
        (TensorProto.INT8, [-7, 3]),
        (TensorProto.UINT8, [250, 3]),
        (TensorProto.UINT32, [2**32 - 1, 3]),
        (TensorProto.UINT64, [2**64 - 1, 3]),
        (TensorProto.BOOL, [True, False]),
        (TensorProto.INT4, [-7, 3, 1]),
        (TensorProto.COMPLEX64, [1 + 2j, 3]),
    ],
)
def test_a_tensor_counts_by_its_elements_not_by_the_field_that_holds_them(tmp_path, kind, values):
    typed = helper.make_tensor("big", kind, [len(values)], values)
    model = tiny()
    prints = set()
    for raw in (False, True):
        tensor = typed
        if raw:
            array = numpy_helper.to_array(typed)
            tensor = numpy_helper.from_array(array, "big")
            assert tensor.raw_data
            assert tensor.data_type == kind
        model.graph.initializer[0].CopyFrom(tensor)
        prints.add(onnx_digest(saved(tmp_path / "a.onnx", model)))
    assert len(prints) == 1


def test_texts_count_one_by_one(tmp_path):
    model = tiny()
    prints = set()
    for texts in (["ab", "c"], ["a", "bc"]):
        model.graph.initializer[0].CopyFrom(
            helper.make_tensor("big", TensorProto.STRING, [2], texts)
        )
        prints.add(onnx_digest(saved(tmp_path / "a.onnx", model)))
    assert len(prints) == 2


def entry(model: onnx.ModelProto, key: str, value: str) -> None:
    entries = TENSORS["initialiser"](model).external_data
    chosen = [each for each in entries if each.key == key]
    for each in chosen:
        each.value = value
    if not chosen:
        entries.add(key=key, value=value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("location", "../secret.bin", "is not in the model's folder; it is not read"),
        ("location", "/etc/passwd", "is not in the model's folder; it is not read"),
        ("location", "link.bin", "is not in the model's folder; it is not read"),
        ("location", "linked/secret.bin", "is not in the model's folder; it is not read"),
        ("location", "a\x1b[31m\nb", r"in 'a\\x1b\[31m\\nb', which does not exist"),
        ("location", "nul\0", "is not in the model's folder"),
        ("location", "x" * 5000, "is not in the model's folder"),
        ("location", "", "does not exist; copy it there"),
        ("location", "*/_ORT_MEM_ADDR_/*", "does not exist; copy it there"),
        ("location", "absent.bin", "does not exist; copy it there"),
        ("offset", "9999", "ends before tensor 'big'"),
        ("offset", "-4", "does not fit its shape"),
        ("offset", "many", "does not fit its shape"),
        ("offset", "9" * 5000, "does not fit its shape"),
        ("length", "12", "does not fit its shape"),
        ("length", "99999999999999", "does not fit its shape"),
    ],
)
def test_external_data_that_leads_elsewhere_is_refused(tmp_path, key, value, words):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "linked").symlink_to(tmp_path)
    model = tiny()
    move_out(model.graph.initializer[0], folder, "w.bin")
    entry(model, key, value)
    with pytest.raises(MarginfaceError, match=words) as caught:
        open_embedder(saved(folder / "m.onnx", model))
    assert "\n" not in str(caught.value)


def test_what_a_reader_could_take_in_two_ways_is_refused(tmp_path):
    model = tiny()
    move_out(model.graph.initializer[0], tmp_path, "w.bin")
    model.graph.initializer[0].external_data.add(key="location", value="other.bin")
    with pytest.raises(MarginfaceError, match="does not fit its shape"):
        onnx_digest(saved(tmp_path / "m.onnx", model))
    del model.graph.initializer[0].external_data[-1]
    model.graph.initializer[0].data_type = 99
    with pytest.raises(MarginfaceError, match="has elements of type 99"):
        onnx_digest(saved(tmp_path / "m.onnx", model))


def test_a_linked_model_finds_its_data_where_the_link_leads(tmp_path):
    """So caches of downloads keep them: links to files that are named by their content."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    model = tiny()
    move_out(model.graph.initializer[0], blobs, "abc")
    entry(model, "location", "w.bin")
    saved(blobs / "def", model)
    for name, target in (("w.bin", "abc"), ("m.onnx", "def")):
        (snapshot / name).symlink_to(os.path.relpath(blobs / target, snapshot))
    assert onnx_digest(snapshot / "m.onnx") == onnx_digest(saved(tmp_path / "whole.onnx", tiny()))


def test_large_external_data_is_read_in_pieces(tmp_path):
    model = tiny()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.dims[:] = [4096, 4096]
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(4096 * 4096 * 4)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    path = saved(tmp_path / "m.onnx", model)
    tracemalloc.start()
    before = onnx_digest(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    with (tmp_path / "w.bin").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    assert onnx_digest(path) != before


@pytest.mark.parametrize("content", [b"hello", b"\x0a\xff", b"\x3a\x05ab"])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(MarginfaceError, match=r"m\.onnx"):
        open_embedder(path)
    with pytest.raises(MarginfaceError, match="does not exist; expected an ONNX file"):
        onnx_digest(tmp_path / "absent.onnx")
