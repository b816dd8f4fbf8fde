"""Examples in Keras, with timm, and of two photos give what they say."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector

import marginface as mf

EXAMPLES = Path(__file__).parents[2] / "examples"

Example = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Train the small model of three examples once; return a function that copies it."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("trained") / "small.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        importlib.import_module("embed_and_compare").train_small_model(path)
    return lambda target: Path(shutil.copy(path, target))


def test_keras_learns_and_its_saved_model_is_the_backbone(
    trained_example: Example, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow")
    found = trained_example("keras_fit").main(str(tmp_path / "saved"))
    assert found["loss"] < 0.3 * found["first_loss"]
    assert found["accuracy"] > 0.6
    assert found["angle"] < 1.3
    assert found["served_difference"] < 1e-2  # of embeddings in float16
    assert (tmp_path / "saved" / "saved_model.pb").is_file()


def test_a_network_of_timm_learns(example: Example) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("timm", reason="timm is not installed, nor in requirements.lock")
    found = example("timm_backbone").main()
    assert found["loss"][-1] < 0.3 * found["loss"][0]
    assert found["accuracy"][0] > 0.7
    assert found["angle"][0] < 1


def test_photos_are_told_apart(
    example: Example,
    trained: Callable[[Path], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = example("embed_and_compare")
    monkeypatch.setattr(module, "train_small_model", trained)
    found = module.main()
    assert found["same"] is True
    assert found["different"] is False
    assert found["auc"] > 0.8  # of people whom the model never saw
    # With files of one's own, as the first line of its help says.
    import torch

    from marginface_torch import create_backbone, export_onnx

    torch.manual_seed(0)
    model, photo = tmp_path / "any.onnx", tmp_path / "one.png"
    export_onnx(create_backbone("mobilefacenet", 8, input_size=(56, 56)), model)
    Image.fromarray(np.full((56, 56, 3), 90, np.uint8)).save(photo)
    capsys.readouterr()
    assert module.main(str(model), str(photo), str(photo), "0.9")["same"] is True
    assert capsys.readouterr().out == "one.png and one.png: the same person, cosine 1.00\n"


def test_people_are_named(
    example: Example,
    trained: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = example("who_is_it")
    monkeypatch.setattr(module, "train_small_model", trained)
    monkeypatch.chdir(tmp_path)
    result = module.main()
    photos = [(answer, int(answer.face.photo.split("-")[0])) for answer in result.answers]
    assert len(photos) == 48
    right = [
        answer.candidates[0].name == f"person {who}" for answer, who in photos if who < 8
    ]  # by chance 1 in 8
    assert np.mean(right) > 0.6
    strangers = [answer.decision for answer, who in photos if who >= 8]
    assert strangers.count("found") <= 0.3 * len(strangers)  # 21 % are expected at most
    assert "found" in result.counts
    with Image.open(tmp_path / "who_is_it.png") as sheet:
        assert sheet.width > 500


def test_two_photos_become_a_decision(
    example: Example,
    trained: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = example("compare_photos")
    monkeypatch.setattr(module, "train_small_model", trained)
    assert module.main() == ["same", "not same"]
    # With files of one's own.
    monkeypatch.chdir(tmp_path)
    photo = photo_with(160, 160, (16, 4, 4))
    Image.fromarray(photo).save("one.png")
    save_detector(tmp_path / "d.onnx")
    with pytest.raises(mf.MarginfaceError, match="has no thresholds; marginface calibrate"):
        module.main(str(save_model(tmp_path / "m.onnx")), "d.onnx", "one.png", "one.png", "1e-1")
