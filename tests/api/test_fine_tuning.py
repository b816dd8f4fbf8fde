"""What `mf.train` takes for fine-tuning, and which checkpoint the other functions read."""

import re

import numpy as np
import pytest
from packing_faces import write_faces
from small_training import PEOPLE, small

import marginface as mf
from marginface.api.train import config_keys
from marginface.runs.checkpoints import list_checkpoints
from marginface.training.config.files import coerce, read_config_file, resolve_config
from marginface.training.config.keys import TrainConfig

PAIRS = "1\t2\nann\t1\t2\nann\t1\t3\nbob\t1\tcid\t1\nbob\t2\tcid\t1\n"
VERIFIED = {"images": "f", "pairs": "p"}
# The same in every way that people write it: what Python has, and what a command line has.
ALIKE = {
    "freeze": (("stem", "blocks.0"), ["stem", "blocks.0"], "stem,blocks.0", "stem, blocks.0"),
    "unfreeze_at": (2, "2"),
    "lr_factor": ({"backbone": 0.1, "head": 1}, "backbone=0.1,head=1"),
    "layer_decay": (0.5, "0.5"),
    "crop": ((4, 8, 104, 98), [4, 8, 104, 98], "4,8,104,98"),
    "resize": ("squeeze", True),
    "keep_best": ("auc",),
    "stop_after": (3, "3"),
    "people_per_batch": (3, "3"),
    "images_per_person": (2, "2"),
    "init_head": ("centers",),
    "frozen_statistics": (True, "true"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with faces and pairs of them."""
    folder = tmp_path_factory.mktemp("tuning")
    write_faces(folder / "faces", PEOPLE, side=112)
    (folder / "pairs.txt").write_text(PAIRS)
    return folder


@pytest.fixture(scope="module")
def run(place):
    """Return a run whose best checkpoint is one of several."""
    pairs = {"images": place / "faces", "pairs": place / "pairs.txt"}
    often = {"val_every": 1, "checkpoint_every": 1, "keep_checkpoints": 2, "keep_best": "auc"}
    return mf.train(**small(place / "faces", place / "run", **pairs, **often)).run


def settings(**keys) -> TrainConfig:
    return resolve_config({}, config_keys({"data": "d", "output": "o", **VERIFIED, **keys}))


def all_of(choose):
    return {name: choose(values) for name, values in ALIKE.items()}


def test_every_way_of_writing_a_key_means_the_same():
    written = settings(**all_of(lambda ways: ways[0]), init="w.pt")
    assert written.tuning().describe() == (
        "stem, blocks.0 frozen until step 2, learning rate times 0.1 for backbone, 1 for head, "
        "layer decay 0.5, statistics of BatchNorm frozen"
    )
    assert written.input_size == (104, 98)
    assert written.batch_size == 6
    for name, ways in ALIKE.items():
        for value in ways:
            other = settings(**{**all_of(lambda ways: ways[0]), name: value}, init="w.pt")
            assert other == written, f"{name}={value!r}"

    partial = [settings(init="w.pt", init_partial=value) for value in (True, "true")]
    assert partial[0] == partial[1] != settings(init="w.pt")


def test_a_file_takes_them_too(tmp_path):
    lines = {
        "freeze": "[stem, blocks.0]",
        "lr_factor": "{backbone: 0.1, head: 1}",
        "crop": "[4, 8, 104, 98]",
        "resize": "yes",
    }
    for name, text in {**lines, "freeze": "stem,blocks.0", "crop": "4,8,104,98"}.items():
        (path := tmp_path / "train.yaml").write_text(f"{name}: {text}\n")
        [(_, value)] = read_config_file(path).items()
        assert value == coerce(name, ALIKE[name][0])


def test_they_reach_the_run(place, run, capsys):
    keys = all_of(lambda ways: ways[-1])
    keys |= {"init": str(run), "batch_size": None}
    keys |= {"images": place / "faces", "pairs": place / "pairs.txt"}
    result = mf.train(**small(place / "faces", place / "all", **keys))
    assert result.best_step in range(4)
    text = capsys.readouterr().err
    assert "class weights are mean directions of 4 people, from 16 images" in text
    assert "stem, blocks.0 frozen until step 2, learning rate times 0.1 for backbone" in text
    assert "step 2: stem, blocks.0 no longer frozen" in text
    image = place / "faces" / "ann" / "ann_0001.png"
    assert mf.load(result.run).preprocessing.crop == (4, 8, 104, 98)
    assert mf.load(result.run).embed(image).shape == (1, 8)


def test_a_run_that_gains_nothing_keeps_the_weights_as_they_were(place, run):
    pairs = {"images": place / "faces", "pairs": place / "pairs.txt"}
    keys = {"init": run, "lr": 1e-12, "frozen_statistics": True, "keep_best": "auc", "val_every": 1}
    result = mf.train(**small(place / "faces", place / "same", **pairs, **keys))
    assert (result.best_step, result.step) == (0, 3)
    image = place / "faces" / "ann" / "ann_0001.png"
    kept, given = (
        mf.load(each, checkpoint=which) for each, which in ((result.run, "best"), (run, "last"))
    )
    assert np.array_equal(kept.embed(image), given.embed(image))
    at_first = next(each for each in result.metrics if each["kind"] == "verification")
    [measured] = mf.evaluate(run, **pairs)
    found = measured.result
    assert (at_first["step"], at_first["auc"]) == (0, found.auc)
    assert (at_first["accuracy"], at_first["eer"]) == (found.accuracy, found.eer)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"init": 5}, "init must be a path, got 5.*"),
        ({"init": ""}, "init: expected a folder, got an empty name"),
        ({"init": "w.pt", "init_weights": "v.pt"}, "init is given twice: init_weights is its .*"),
        ({"init": "w.pt", "init_head": "mean"}, r"unknown init_head 'mean' \(known: centers, .*"),
        ({"init": "w.pt", "init_partial": "maybe"}, "init_partial must be true or false, got .*"),
        ({"init_head": "centers"}, "init_head centers has no effect without .*; give init, or .*"),
        ({"init_partial": True}, "init_partial has no effect without .*; give init, or leave .*"),
        ({"frozen_statistics": True}, "frozen_statistics needs weights .*; give init, or leave .*"),
        (
            {"frozen_statistics": True, "init": "w.pt", "init_partial": True},
            "frozen_statistics needs weights .*, or leave frozen_statistics out",
        ),
        ({"init": "w.pt", "frozen_statistics": 3}, "frozen_statistics must be true or false, .*"),
        ({"freeze": 5}, "freeze must be a list, got 5"),
        ({"freeze": "stem,stem"}, "freeze: name stem is given twice; give it once"),
        ({"freeze": "head"}, "freeze takes parts of the backbone; the head always learns"),
        ({"unfreeze_at": 2}, "unfreeze_at 2 has no effect without freeze; say which parts .*"),
        ({"freeze": "stem", "unfreeze_at": "soon"}, "unfreeze_at must be a whole number, got .*"),
        ({"freeze": "stem", "unfreeze_at": True}, "unfreeze_at must be a number, got yes"),
        ({"lr_factor": 0.1}, "lr_factor must be parts with factors, such as .*, got 0.1"),
        ({"lr_factor": {1: 2}}, "lr_factor must be parts with factors, such as .*, got {1: 2}"),
        ({"lr_factor": "backbone"}, "lr_factor must be name=value,name=value, got 'backbone'"),
        ({"lr_factor": {"stem": "a"}}, "lr_factor must be a number, got 'a'"),
        ({"lr_factor": {"stem": True}}, "lr_factor of stem must be a number, got yes"),
        ({"lr_factor": {"stem": 0}}, "lr_factor of stem must be .* hold it still give freeze stem"),
        ({"layer_decay": 2}, "layer_decay must be less than or equal to 1, got 2"),
        ({"layer_decay": True}, "layer_decay must be a number, got yes"),
        ({"crop": 5}, "crop must be top,left,height,width in whole numbers, got 5"),
        ({"crop": (0, 8, 112, 96), "input_size": 112}, "crop 0,8,112,96 .* the model takes .*"),
        ({"crop": (0, 8, 112, 96), "input_size": None, "resize": 1}, "resize must be one of .*"),
        ({"resize": "strech"}, r"unknown resize 'strech' \(known: fit, letterbox, squeeze\)"),
        ({"keep_best": "auc", "images": None, "pairs": None}, "keep_best auc needs a verif.*"),
        ({"keep_best": "acc"}, "keep_best is 'acc', but a .* gives no 'acc'; expected .*"),
        ({"stop_after": 3}, "stop_after 3 needs the metric .*; give keep_best, such as .*"),
        ({"stop_after": 0, "keep_best": "auc"}, "stop_after must be greater than or .*"),
        ({"people_per_batch": 2}, "people_per_batch is given without images_per_person; give .*"),
        ({"people_per_batch": 2, "images_per_person": 3}, "batch_size is 4, but people_per.*"),
    ],
)
def test_what_is_wrong_is_told_as_python_names_it(given, message):
    keys = {"data": "d", "output": "o", "batch_size": 4, **VERIFIED, **given}
    with pytest.raises(mf.MarginfaceError, match=f"^{message}$") as caught:
        mf.train(**keys)
    assert not re.search(r"(?<![\w-])--\w", str(caught.value))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"freeze": "layer1"}, r"unknown part 'layer1'; .*stem, blocks.0 to blocks.14, conv2.*"),
        ({"lr_factor": {"foo": 1}}, r"unknown part 'foo' \(parts of mobilefacenet: stem, .*"),
        ({"freeze": "stem", "lr_factor": {"stem": 2}}, ".* throughout; .*, with unfreeze_at"),
        ({"freeze": "stem", "unfreeze_at": 99}, "unfreeze_at 99 is never .* longer .epochs, .*"),
        ({"crop": (0, 8, 112, 200)}, r"crop 0,8,112,200 .* images of 112x112 .*"),
        ({"people_per_batch": 8, "images_per_person": 2}, "people_per_batch is 8, .* at most 4"),
        ({"people_per_batch": 9, "images_per_person": 2}, ".* smaller batch .people_per_batch.*"),
        (
            {"init": "w.pt", "freeze": "backbone", "frozen_statistics": True},
            "frozen_statistics has no effect: the backbone has no BatchNorm whose weights .*",
        ),
        ({"init": "none.pt"}, "no such file or folder: none.pt; expected .*"),
    ],
)
def test_so_is_what_the_network_or_the_data_show(place, given, message):
    given = {"batch_size": None, **given} if "people_per_batch" in given else given
    keys = small(place / "faces", place / "wrong", **given)
    with pytest.raises(mf.MarginfaceError, match=f"^{message}$") as caught:
        mf.train(**keys)
    assert not re.search(r"(?<![\w-])--\w", str(caught.value))
    assert not (place / "wrong").exists()


def test_every_function_reads_the_checkpoint_that_is_named(place, run, tmp_path):
    faces = place / "faces"
    pairs = {"images": faces, "pairs": place / "pairs.txt"}
    steps = [int(path.name.removeprefix("step-")) for path in list_checkpoints(run / "checkpoints")]
    image = sorted(faces.rglob("*.png"))[0]
    by_step = {step: mf.load(run, checkpoint=step).embed(image).tolist() for step in steps}
    assert len({str(each) for each in by_step.values()}) == len(steps)
    best = mf.load(run, checkpoint="best").embed(image).tolist()
    assert best in by_step.values()
    for checkpoint in (None, "last", str(steps[-1])):
        assert mf.load(run, checkpoint=checkpoint).embed(image).tolist() == by_step[steps[-1]]
    exported = mf.export(tmp_path / "best.onnx", model=run, checkpoint="best")
    figures = [mf.evaluate(run, checkpoint="best", **pairs), mf.evaluate(exported, **pairs)]
    assert figures[0].metrics[0]["auc"] == pytest.approx(figures[1].metrics[0]["auc"])
    mf.embed(run, faces, tmp_path / "best.npz", checkpoint="best")
    for call in (
        lambda **how: mf.load(run, **how),
        lambda **how: mf.evaluate(run, **pairs, **how),
        lambda **how: mf.embed(run, faces, tmp_path / "no.npz", **how),
        lambda **how: mf.export(tmp_path / "no.onnx", model=run, **how),
    ):
        with pytest.raises(mf.MarginfaceError, match=r"checkpoint of step 99; expected one of .*"):
            call(checkpoint=99)
        with pytest.raises(mf.MarginfaceError, match=r"^checkpoint must be best"):
            call(checkpoint="newest")
    with pytest.raises(mf.MarginfaceError, match="a file, which has no checkpoints; leave out"):
        mf.evaluate([exported, run], checkpoint="best", **pairs)
    with pytest.raises(mf.MarginfaceError, match=r"loaded already; give checkpoint to mf\.load"):
        mf.evaluate(mf.load(run), checkpoint="best", **pairs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.npz", "best.onnx"]
