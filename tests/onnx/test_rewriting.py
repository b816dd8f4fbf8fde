"""`marginface export --model` of another program's file: faster, whole, and checked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from real_faces import FACES, needs_faces

import marginface as mf
from marginface import MarginfaceError
from marginface.embeddings.embedder import open_embedder
from marginface.embeddings.rewriting import Rewriting, rewrite
from marginface.onnx.files import data_beside
from marginface.onnx.metadata import read_metadata, write_with_metadata

PRELU = """(float[1, 3, 16, 16] x) => (float[1, 12] y) {
    a = Constant<value = float[3, 1, 1] {-0.5, 0.25, 1.5}>()
    p = PRelu(x, a)
    s = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>(p)
    y = Flatten(s) }"""
LAST = """(float[N, 16, 16, 3] x) => (float[N, 1, 1, 768] e, float[N, 5] g) {
    s = Constant<value_ints = [0, 1, 1, 768]>() e = Reshape(x, s)
    f = Flatten(e) b = Constant<value_ints = [0]>() c = Constant<value_ints = [5]>()
    d = Constant<value_ints = [1]>() g = Slice(f, b, c, d) }"""
NORM = """(float[N, 3, 16, 16] x) => (float[N, 768] e, float[N, 1] n) {
    f = Flatten(x) n = ReduceL2<axes = [1], keepdims = 1>(f) e = Div(f, n) }"""


def saved(path: Path, text: str, opset: int = 13) -> Path:
    header = f'<ir_version: 8, opset_import: ["": {opset}]> tiny '
    onnx.save(onnx.parser.parse_model(header + text), path)
    return path


def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_the_preprocessing_is_given_once(printed, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = saved(tmp_path / "m.onnx", PRELU)
    write_with_metadata(source, source, {"author": "somebody"})
    given = ("--std", "128", "--channels", "bgr")
    said = printed("export", "--model", source, *given, "--for", "cpu", "--output", "fast.onnx")
    assert "largest difference of embeddings: " in said
    fast = Path("fast.onnx")
    metadata = read_metadata(fast)
    assert json.loads(metadata["marginface.preprocessing"])["std"] == [128.0] * 3
    assert (metadata["author"], metadata["marginface.source"]) == ("somebody", "m.onnx")
    assert "PRelu" not in kinds(fast)
    expected = open_embedder(source, std=128, channels="bgr")(pictures())
    np.testing.assert_allclose(open_embedder(fast)(pictures()), expected, atol=1e-6)


@pytest.mark.parametrize("text", [PRELU, LAST], ids=["one image", "channels last"])
def test_the_mirror_and_length_1_in_the_graph(text, tmp_path: Path) -> None:
    source, target = saved(tmp_path / "m.onnx", text), tmp_path / "whole.onnx"
    name = "y" if text is PRELU else "e"
    mf.export(target, model=source, flip=True, normalize=True, output_name=name)
    summed = mf.load(source, output_name=name).embed(pictures(), flip=True)
    expected = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    whole = mf.load(target)
    np.testing.assert_allclose(whole.embed(pictures()), expected, atol=1e-6)
    for again in (
        lambda: whole.embed(pictures(), flip=True),
        lambda: mf.export(tmp_path / "x.onnx", model=target, flip=True),
    ):
        with pytest.raises(MarginfaceError, match=r"mirror image itself.*leave out flip=True"):
            again()
    with pytest.raises(MarginfaceError, match="mirror image itself"):
        mf.Recogniser(target, flip=True)


def test_thresholds_stay_with_the_same_embeddings_alone(tmp_path: Path) -> None:
    source, target = saved(tmp_path / "m.onnx", PRELU), tmp_path / "t.onnx"
    key, before = "marginface.thresholds", open_embedder(source).fingerprint
    write_with_metadata(source, source, {key: json.dumps([before, "another"])})
    mf.export(target, model=source, processor="cpu")
    after = open_embedder(target).fingerprint
    assert after != before
    assert json.loads(read_metadata(target)[key]) == [after, "another"]
    for others in ({"std": 100}, {"normalize": True}, {"flip": True}):
        with pytest.warns(UserWarning, match="thresholds were dropped.*marginface calibrate"):
            mf.export(target, model=source, overwrite=True, **others)
        assert key not in read_metadata(target)


def test_thresholds_of_a_named_output_and_of_images_of_another_size(tmp_path: Path) -> None:
    source, target = saved(tmp_path / "m.onnx", LAST), tmp_path / "t.onnx"
    key, before = "marginface.thresholds", open_embedder(source, output_name="e").fingerprint
    write_with_metadata(source, source, {key: json.dumps([before])})
    mf.export(target, model=source, output_name="e")
    assert json.loads(read_metadata(target)[key]) == [open_embedder(target).fingerprint]
    with pytest.warns(UserWarning, match="thresholds were dropped"):
        mf.export(target, model=source, output_name="g", overwrite=True)
    assert key not in read_metadata(target)
    with pytest.warns(UserWarning, match="thresholds were dropped"):
        mf.export(target, model=source, output_name="e", crop=(4, 4, 16, 16), overwrite=True)
    assert key not in read_metadata(target)


def test_data_beside(tmp_path: Path) -> None:
    source = saved(tmp_path / "m.onnx", PRELU)
    model = onnx.load(source)
    extra = np.zeros((400,), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(extra, "unused"))
    onnx.save(model, source, save_as_external_data=True, location="w.bin", size_threshold=0)
    how = Rewriting("cpu", False, False, None, {})
    target = tmp_path / "t.onnx"
    rewrite(source, target, how, largest=100)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "m.onnx",
        "t.onnx",
        "t.onnx.data",
        "w.bin",
    ]
    expected = open_embedder(source)(pictures())
    np.testing.assert_allclose(open_embedder(target)(pictures()), expected, atol=1e-6)
    source.rename(data_beside(tmp_path / "n.onnx"))  # a name that would be written over
    with pytest.raises(MarginfaceError, match="is what the command reads"):
        mf.export(tmp_path / "n.onnx", model=tmp_path / "n.onnx.data")


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (PRELU, ["--opset", "18"], "--opset goes with a run or --weights"),
        (PRELU, ["--backbone", "mbf"], "--backbone goes with a run or --weights"),
        (PRELU, ["--preprocess"], "--preprocess goes with a run or --weights"),
        (PRELU, ["--for", "cuda"], "unknown processor 'cuda'"),
        (PRELU, ["--classifier", "alone"], "--classifier goes with a run"),
        (PRELU, ["--classifier", "sole"], "unknown classifier 'sole'"),
        (PRELU, ["--output-name", "z"], "has no output 'z'"),
        (PRELU, ["--output", "m.onnx", "--overwrite"], "is what the command reads"),
        (NORM, ["--normalize"], "norm 'n' beside its embedding.*--output-name e"),
        (LAST, [], "name the embedding with --output-name"),
        ("", ["--std", "128"], "m.onnx does not exist; expected an ONNX file"),
        ("nonsense", [], "is no run folder and no ONNX file"),
    ],
    ids=str,
)
def test_refusals(refusal, text, options, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    if text == "nonsense":
        Path("m.onnx").write_text(text)
    elif text:
        saved(Path("m.onnx"), text)
    given = options if "--output" in options else [*options, "--output", "t.onnx"]
    assert re.search(words, refusal("export", "--model", "m.onnx", *given))
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"] * bool(text)


def test_no_prelu_is_said(tmp_path: Path) -> None:
    source = saved(tmp_path / "m.onnx", NORM)
    with pytest.warns(UserWarning, match="no PRelu"):
        mf.export(tmp_path / "t.onnx", model=source, processor="cpu")


@needs_faces
def test_a_public_network_with_its_preprocessing(printed, tmp_path: Path) -> None:
    source, target = FACES / "weights/mobilefacenet_paper.onnx", tmp_path / "fast.onnx"
    given = ("--model", source, "--std", "128", "--for", "cpu", "--output", target)
    assert "largest difference of embeddings: 0 of" in printed("export", *given)
    images = sorted((FACES / "lfw112/test").glob("*/*.jpg"))[:2]
    expected = mf.load(source, std=128).embed(images)
    np.testing.assert_array_equal(mf.load(target).embed(images), expected)


@needs_faces
def test_the_prelu_of_a_public_network(tmp_path: Path) -> None:
    weights = FACES / "weights/mobilefacenet_casia_112x96.ckpt"
    of_network = {"backbone": "mobilefacenet", "embedding_size": 128}
    entering = {"std": 128, "crop": (0, 8, 112, 96)}
    mf.export(tmp_path / "ours.onnx", weights=weights, **of_network, **entering)
    model = onnx.load(tmp_path / "ours.onnx")
    model.ClearField("metadata_props")
    onnx.save(model, tmp_path / "foreign.onnx")
    fast = mf.export(
        tmp_path / "fast.onnx", model=tmp_path / "foreign.onnx", processor="cpu", **entering
    )
    assert "PRelu" not in kinds(fast)
    images = sorted((FACES / "lfw112/test").glob("*/*.jpg"))[:4]
    expected, found = (mf.load(tmp_path / name).embed(images) for name in ("ours.onnx", fast.name))
    length = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found / length, expected / length, atol=1e-6, rtol=0)
