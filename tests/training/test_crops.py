"""Crops and scaled images in training: what the network sees, and what its model keeps of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from runs import QUIET
from small_training import small

import marginface as mf
from marginface import MarginfaceError
from marginface.data.opening import open_images
from marginface.data.pipeline import TrainingPipeline
from marginface.data.verification.opening import open_verification
from marginface.embeddings.origin import Origin
from marginface.evaluation.evaluate import distinct_images
from marginface.training import verifying
from marginface.training.config.keys import TrainConfig
from marginface.training.trainer import train

CROP = (3, 10, 96, 64)


@pytest.fixture(scope="module")
def wide(tiny_faces, tmp_path_factory):
    """Return the faces in images of 120 x 80 pixels."""
    root = tmp_path_factory.mktemp("wide") / "faces"
    for path in sorted(tiny_faces.rglob("*.png")):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        image = Image.open(path).resize((120, 80))
        image.save(root / path.parent.name / path.name)
    return root


def test_batches_are_cropped_before_they_are_augmented(tiny_faces):
    images = open_images(tiny_faces)
    keys = {"batch_size": 6, "seed": 0, "threads": 0, "crop": CROP}
    plain = TrainingPipeline(images, augment=(), **keys)
    flipped = TrainingPipeline(images, augment=("flip",), **keys)
    whole = {images[number][0].tobytes(): images[number][0] for number in range(len(images))}
    cuts = {each[3:99, 10:74].tobytes() for each in whole.values()}
    turned = 0
    for _ in range(4):
        cropped, other = next(plain).images, next(flipped).images
        assert cropped.shape == (6, 96, 64, 3)
        for image, maybe in zip(cropped, other, strict=True):
            assert image.tobytes() in cuts
            same = (maybe == image).all()
            assert same or (maybe == image[:, ::-1]).all()
            turned += not same
    assert 0 < turned < 24


def test_a_crop_sets_the_input_size_and_has_to_fit(tiny_faces):
    keys = {"data": tiny_faces, "output": "r", "backend": "torch"}
    assert TrainConfig(**keys, crop="0,8,112,96").input_size == (112, 96)
    with pytest.raises(MarginfaceError, match="cuts out 112x96, the model takes 64x64"):
        TrainConfig(**keys, crop="0,8,112,96", input_size=64)
    with pytest.raises(MarginfaceError, match=r"crop 20,0,100,100 .* does not fit into images"):
        TrainConfig(**keys, crop="20,0,100,100", resize="fit")
    with pytest.raises(MarginfaceError, match="crop must be top,left,height,width"):
        TrainConfig(**keys, crop="1,2,3")
    kept = TrainConfig(**keys, resize=True)
    assert (kept.resize, kept.model_spec().preprocessing.resize) == ("squeeze", "squeeze")


@pytest.mark.usefixtures("fake_backend")
def test_a_crop_beyond_the_images_creates_nothing(make):
    config = make(crop="20,0,96,96")
    with pytest.raises(MarginfaceError, match=r"does not fit into images of 112x112"):
        train(config, console=QUIET)
    assert not config.output.exists()


@pytest.mark.usefixtures("fake_backend")
def test_images_of_any_size_that_the_crop_fits_are_taken(make, wide):
    config = make(data=wide, crop="0,0,64,64")
    assert train(config, console=QUIET).step == 23


@pytest.mark.parametrize(
    "how", [{"crop": "3,10,96,64"}, {"resize": "letterbox", "input_size": (64, 64)}]
)
def test_a_run_is_verified_as_its_model_is_evaluated(
    tiny_faces, wide, pairs_file, tmp_path, how, monkeypatch
):
    shown = wide if "resize" in how else tiny_faces
    seen = []

    def embed_pairs(*given, **options):
        seen.append(verified(*given, **options))
        return seen[0]

    verified = verifying.embed_pairs
    monkeypatch.setattr(verifying, "embed_pairs", embed_pairs)
    run = tmp_path / "run"
    mf.train(**small(shown, run, **how, val_pairs=pairs_file, val_images=shown, lr=0.01))
    kept = json.loads((run / "model.json").read_text())["preprocessing"]
    assert kept["crop"] == (list(CROP) if "crop" in how else None)
    assert kept.get("resize") == how.get("resize")
    model = mf.load(run, backend="torch")
    named = distinct_images(open_verification(pairs_file, shown))
    again = model.embed([shown / name for name in named], flip=True, resize="resize" in how)
    np.testing.assert_allclose(again, seen[0], atol=1e-5 * np.abs(again).max())
    if "resize" in how:
        origin = Origin.of(model.embedder, flip=True, resize=True, norms=(1.0, 2.0))
        assert Origin.from_text(origin.to_text(), run).resize == "letterbox"
        image = shown / named[0]
        own, squeezed = (model.embed(image, resize=each) for each in (True, "squeeze"))
        np.testing.assert_array_equal(own, model.embed(image, resize="letterbox"))
        assert not np.allclose(own, squeezed)
        with pytest.raises(MarginfaceError, match="unknown resize 'stretch'"):
            model.embed(image, resize="stretch")


def test_a_model_of_scaled_and_cropped_images_takes_no_others_as_they_are(wide, tmp_path):
    run = tmp_path / "run"
    mf.train(**small(wide, run, crop="3,10,96,64", resize="fit"))
    model, image = mf.load(run), next(wide.rglob("*.png"))
    for each in (image, np.asarray(Image.open(image))):
        with pytest.raises(MarginfaceError, match=r"80x120.*112x112.*resize"):
            model.embed(each)
        assert model.embed(each, resize=True).shape == (1, 8)
