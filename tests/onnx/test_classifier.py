"""`marginface export --classifier`: class weights as a graph, for closed sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from small_training import small

import marginface as mf
from marginface import MarginfaceError
from marginface.onnx.classifier import ClassWeights, build_classifier, check_classes
from marginface.onnx.files import replacing_model
from marginface.onnx.metadata import read_metadata
from marginface.runs.checkpoints import load_checkpoint
from marginface.runs.chosen import read_chosen

torch = pytest.importorskip("torch")
LOSSES: dict[str, dict[str, Any]] = {"subcenter_arcface": {"centers": 2}, "softmax": {}}


def results(path: Path, values: np.ndarray) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    found = session.run(None, {session.get_inputs()[0].name: values})
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_as_the_head_of_the_framework(loss, tiny_faces, tmp_path: Path) -> None:
    run, parameters = tmp_path / "run", LOSSES[loss]
    mf.train(**small(tiny_faces, run, loss=loss, loss_parameters=parameters))
    before = mf.load(run).embedder.fingerprint
    (run / "thresholds.json").write_text(before)
    alone, beside = tmp_path / "alone.onnx", tmp_path / "beside.onnx"
    mf.export(alone, model=run, classifier="alone", opset=18)
    mf.export(beside, model=run, classifier="beside", processor="cpu")
    for path in (alone, beside):
        names = path.with_suffix(".identities.txt").read_text()
        assert names == (run / "identities.txt").read_text()
        assert read_metadata(path)["classes"] == str(names.count("\n"))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 112, 112, 3), np.uint8)
    model = mf.load(beside)
    kept = read_metadata(beside)["marginface.thresholds"]
    assert kept == model.embedder.fingerprint != before
    embeddings = model.embed(images)
    np.testing.assert_allclose(embeddings, mf.load(run).embed(images), rtol=1e-4, atol=1e-5)
    state = read_chosen(run / "checkpoints", None, load_checkpoint).state
    head = mf.MarginHead(loss, 8, names.count("\n"), backend="torch", **parameters)
    head.weight.data = torch.from_numpy(np.asarray(state["head.weight"]).copy())
    if "head.bias" in state:
        head.bias.data = torch.from_numpy(np.asarray(state["head.bias"]).copy())
    given = torch.from_numpy(embeddings)
    output = "logits" if loss == "softmax" else "cosines"
    expected = getattr(head, output)(given).detach().numpy()
    pixels = model.preprocessing(images)
    for path, values in ((alone, embeddings), (beside, pixels)):
        np.testing.assert_allclose(results(path, values)[output], expected, atol=2e-5, rtol=1e-5)


def test_weights_that_are_not_those(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(6, 4))
    model = build_classifier(ClassWeights(weights, 2), opset=17, metadata={})
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    check_classes(tmp_path / "m.onnx", ClassWeights(weights, 2))
    weights[0] *= -1
    with pytest.raises(MarginfaceError, match="cosines differ from NumPy's"):
        check_classes(tmp_path / "m.onnx", ClassWeights(weights, 2))


def test_a_kill_between_the_files_leaves_no_model_of_others_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, names = tmp_path / "m.onnx", tmp_path / "m.identities.txt"
    left = []

    def write(text: str, renames: int) -> None:
        rename, allowed = Path.replace, iter(range(renames))

        def counted(source: Path, target: Path) -> None:
            if next(allowed, None) is None:
                raise KeyboardInterrupt
            rename(source, target)

        with monkeypatch.context() as patched, replacing_model(model) as part:
            patched.setattr(Path, "replace", counted)
            part.write_text(text)
            (part.parent / names.name).write_text(text)

    write("old", 2)
    for renames in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            write("new", renames)
        left.append((model.exists(), names.read_text()))
    assert left == [(False, "old"), (False, "new")]
    write("new", 2)
    assert model.read_text() == names.read_text() == "new"


def test_refusals(tiny_faces, tmp_path: Path) -> None:
    run, target = tmp_path / "run", tmp_path / "m.onnx"
    mf.train(**small(tiny_faces, run))
    (tmp_path / "m.identities.txt").write_text("somebody's")
    with pytest.raises(MarginfaceError, match=r"m.identities.txt exists already"):
        mf.export(target, model=run, classifier="alone")
    with pytest.raises(MarginfaceError, match="normalize=True is of the network"):
        mf.export(tmp_path / "n.onnx", model=run, classifier="alone", normalize=True)
    mf.export(target, model=run, classifier="alone", overwrite=True)
    with pytest.raises(MarginfaceError, match="expected four dimensions"):
        mf.load(target)
    (run / "identities.txt").write_text("one\n")
    with pytest.raises(MarginfaceError, match="class weights for the 1 names of its identities"):
        mf.export(target, model=run, classifier="alone", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.identities.txt", "m.onnx", "run"]
