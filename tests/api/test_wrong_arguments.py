"""What people give by mistake ends in one line that names the argument as Python does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import save_model

import marginface as mf
from marginface.calling import in_python


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("wrong") / "tiny.onnx")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"crop": 5}, "crop must be top,left,height,width in whole numbers, got 5"),
        ({"crop": (0, 0, 2.5, 9)}, r"crop must be top,.* got \(0, 0, 2.5, 9\)"),
        ({"mean": {}}, "mean must be one number or three, got {}"),
        ({"channels": 5}, "unknown channels '5'"),
        ({"threads": "2"}, "threads must be at least 1, a whole number, got '2'"),
        ({"backend": None}, "unknown backend 'None'"),
        ({"output_name": 3}, ".* has no output '3'; output_name takes one of y"),
        ({"path": None}, "path must be a path, got None"),
        (
            {"path": "no/such"},
            "no such file or folder: no/such; expected a run folder, a model folder or an .onnx",
        ),
    ],
)
def test_of_load(model, given, message):
    with pytest.raises(mf.MarginfaceError, match=f"^{message}"):
        mf.load(**{"path": model} | given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "there is nothing to verify; give val='lfw.bin', or pairs='pairs.txt' and images"),
        ({"val": []}, "val is an empty list; give at least one"),
        ({"val": 3}, "val must be a path, got 3"),
        ({"model": None}, "model must be a path, got None"),
        ({"model": []}, "model is an empty list; give at least one"),
        ({"flip": "no"}, "flip must be True or False, got 'no'"),
        ({"batch_size": "64"}, "batch_size must be at least 1, a whole number, got '64'"),
        ({"batch_size": 2.5}, "batch_size must be at least 1, a whole number, got 2.5"),
    ],
)
def test_of_evaluate(given, message):
    with pytest.raises(mf.MarginfaceError, match=f"^{message}$"):
        mf.evaluate(**{"model": "m.onnx"} | given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"config": ["a"]}, r"config must be a YAML file or a dict of keys, got \['a'\]"),
        ({"callbacks": print}, "callbacks must be a list of functions, got <built-in.*"),
        ({"config": {"overwrite": True}}, "overwrite is no key of the configuration; give it .*"),
        (
            {"loss": mf.losses.ArcFace(), "margin": 0.3},
            r"margin beside the loss ArcFace\(.*\), which has its parameters; .*",
        ),
        (
            {"optimizer": mf.SGD(), "momentum": 0.5, "weight_decay": None},
            r"momentum beside the optimizer SGD\(.*\), which has its own; give its name, 'sgd', .*",
        ),
        (
            {"optimizer": mf.AdamW(beta2=0.95)},
            r"train has adamw with beta2 0.999 alone, got AdamW\(.*; leave beta2 out",
        ),
        ({"resume": "yes"}, "resume must be True or False, got 'yes'"),
        (
            {"resume": True, "overwrite": True},
            "resume=True continues the run in output and overwrite=True replaces it; give one .*",
        ),
        ({"pairs": "a", "val_pairs": "b"}, "pairs and val_pairs are two names of one; give one .*"),
        ({"learning_rate": 1}, "unknown config key 'learning_rate'; did you mean 'lr'.*"),
        (
            {"data": "d", "output": "o", "batch_size": "many"},
            "batch_size must be a whole number, got 'many'.*",
        ),
        ({}, "data is missing; give data or 'data:' in the config file; output is missing.*"),
    ],
)
def test_of_train(given, message):
    with pytest.raises(mf.MarginfaceError, match=f"^{message}$"):
        mf.train(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "export takes either model=RUN or weights=FILE"),
        ({"model": "run", "run": "run"}, "export takes either model=RUN or weights=FILE"),
        (
            {"weights": "w.pt", "checkpoint": "best"},
            "checkpoint goes with a run; files have none",
        ),
        ({"weights": "w.pt"}, "no such file or folder: w.pt; expected a .safetensors, .*"),
        (
            {"weights": "w.pt", "backbone": "mbf", "input_size": "9"},
            "input_size must be height,width in .*",
        ),
        ({"weights": "w.pt", "backbone": ["mbf"]}, r"backbone must be the name of .*\['mbf'\]"),
        ({"run": "run", "opset": "17"}, "opset must be at least 1, a whole number, got '17'"),
    ],
)
def test_of_export(given, message, tmp_path):
    with pytest.raises(mf.MarginfaceError, match=f"^{message}$"):
        mf.export(tmp_path / "out.onnx", **given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mf.SGD(momentum="a"), r"momentum must be in \[0, 1\), got 'a'"),
        (lambda: mf.SGD(weight_decay=-1), "weight_decay must be at least 0 and finite, got -1"),
        (lambda: mf.AdamW(beta1=2), r"beta1 must be in \[0, 1\), got 2"),
        (lambda: mf.AdamW(clip_norm=0), "clip_norm must be above 0 and finite, got 0"),
    ],
)
def test_of_optimizers(make, message):
    with pytest.raises(mf.MarginfaceError, match=f"^{message}$"):
        make()


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((2, 112, 112, 3)), r"float64 \(112, 112, 3\); of values from 0 to 1 give .*"),
        (np.zeros((2, 3, 112, 112), np.uint8), r"uint8 \(3, 112, 112\)"),
        (np.zeros((112, 112), np.uint8), r"uint8 \(112, 112\)"),
        (Image.fromarray(np.zeros((112, 112), np.uint16)), "a PIL image of mode I;16"),
        (np.zeros((2, 2, 112, 112, 3), np.uint8), r"uint8 \(2, 112, 112, 3\)"),
        (np.uint8(3), r"uint8 \(\)"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_refused(model, images, found):
    with pytest.raises(mf.MarginfaceError, match=f"paths, PIL images or uint8 .* got {found}$"):
        mf.load(model).embed(images)


def test_images_at_hand_are_sent_to_the_function_for_them(model, tmp_path):
    with pytest.raises(mf.MarginfaceError, match=r"got list; .*mf\.load\(model\)\.embed"):
        mf.embed(model, ["a.png"], tmp_path / "out.npz")


def test_a_folder_is_sent_to_the_function_for_it(model, tmp_path):
    with pytest.raises(mf.MarginfaceError, match=r"is a folder; give its files, or .* mf\.embed$"):
        mf.load(model).embed(tmp_path)


def test_a_size_that_does_not_fit_names_the_argument(model):
    with pytest.raises(mf.MarginfaceError, match=r"scale them \(resize=True\), .* \(crop\)$"):
        mf.load(model).embed(np.zeros((64, 64, 3), np.uint8))


def test_a_command_names_the_options(cli, model):
    status, _, err = cli("evaluate", "--model", model)
    assert status == 2
    assert "give --val lfw.bin, or --pairs pairs.txt and --images" in err


def test_names_of_files_and_whole_commands_stay():
    for text in ("a--b.png", "run `marginface data inspect x --rebuild-index` first", "x -- y"):
        assert in_python(text) == text
    assert in_python("--no-flip, --lr (it was 3)") == "flip=False, lr (it was 3)"


def test_a_home_folder_is_found(model, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(model).parent))
    assert mf.load("~/tiny.onnx").path == Path(model)
    with pytest.raises(mf.MarginfaceError, match=f"cannot resume: {Path(model).parent}/run does"):
        mf.train(output="~/run", resume=True)
