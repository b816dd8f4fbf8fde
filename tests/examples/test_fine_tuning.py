"""Fine-tuning as the example does it: on drawn people, and from public weights on real ones."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from real_faces import FACES, needs_faces

import marginface as mf
from marginface.runs.checkpoints import load_checkpoint

Example = Callable[[str], ModuleType]

pytest.importorskip("onnxruntime")

NETWORK = {"backbone": "mobilefacenet", "embedding_size": 8, "input_size": (56, 56)}
QUICK = {"backend": "torch", "batch_size": 8, "compile": "off", "threads": 1}
CASIA = {
    "backbone": "mobilefacenet",
    "embedding_size": 128,
    "input_size": (112, 96),
    "crop": (0, 8, 112, 96),
    "std": 128,
}


def write(folder: Path, photos: np.ndarray, each: int) -> Path:
    for number, photo in enumerate(photos):
        person = folder / f"person_{number // each:02d}"
        person.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(person / f"{number % each}.png")
    return folder


def test_weights_people_and_others_give_two_models(example: Example, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    module = example("fine_tune")
    faces = write(tmp_path / "own", module.draw_photos(10, 4), 4)
    others = module.hold_out(faces, tmp_path / "parts", 20)
    settings = {**NETWORK, **QUICK, "data": faces, "recipe": "small-set", "max_steps": 2}
    public = mf.export(
        tmp_path / "public.onnx", model=mf.train(**settings, output=tmp_path / "public").run
    )
    tuned = tmp_path / "tuned"
    figures = module.main(
        tuned, public, faces, others, NETWORK, freeze="stem,blocks", pairs=20, epochs=2, **QUICK
    )
    seen, unseen = (
        {each.name for each in (tuned / "people" / part).glob("person_*")}
        for part in ("train", "validation")
    )
    assert (len(seen), len(unseen)) == (7, 3)
    assert not seen & unseen
    photos = sorted(faces.glob("*/*"))[:3]
    before, after = (mf.load(tuned / f"{name}.onnx").embed(photos) for name in ("before", "tuned"))
    np.testing.assert_allclose(before, mf.load(public).embed(photos), atol=1e-5)
    best = mf.load(tuned / "run", checkpoint="best").embed(photos)
    np.testing.assert_allclose(after, best, atol=1e-5)
    assert not np.allclose(before, after, atol=1e-3)
    weights = mf.backbones.read_weights(public)
    last = load_checkpoint(max((tuned / "run" / "checkpoints").iterdir())).state
    moved = {name for name, each in weights.items() if (last[f"backbone.{name}"] != each).any()}
    assert {name.split(".")[0] for name in moved} == {"conv2", "linear7", "linear1"}
    for each in figures.values():
        assert set(each) == {"people held out", "others", "cosine"}
        assert all(0 <= value <= 1 for value in each.values())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "tf"])
def test_it_helps_on_drawn_faces(example: Example, tmp_path: Path, backend: str) -> None:
    pytest.importorskip({"torch": "torch", "tf": "tensorflow"}[backend])
    figures = example("fine_tune").on_drawn_faces(tmp_path / "drawn", backend)
    for name in ("people held out", "others"):
        assert figures["tuned"][name] >= figures["before"][name] - 0.02
        assert figures["tuned"][name] > 0.85


@needs_faces
@pytest.mark.slow
def test_public_weights_and_twenty_real_people(example: Example, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    module = example("fine_tune")
    everyone = sorted((FACES / "lfw112" / "train").iterdir())
    counts = {person: len(list(person.iterdir())) for person in everyone}
    for folder, chosen in {
        "own": [person for person, count in counts.items() if 20 <= count <= 33][:20],
        "others": [person for person, count in counts.items() if 3 <= count <= 8][:100],
    }.items():
        for person in chosen:
            shutil.copytree(person, tmp_path / folder / person.name)
    figures = module.main(
        tmp_path / "tuned",
        FACES / "weights" / "mobilefacenet_casia_112x96.ckpt",
        tmp_path / "own",
        module.hold_out(tmp_path / "others", tmp_path / "parts", 200),
        CASIA,
        freeze="stem,blocks",
        epochs=4,
    )
    for name in ("people held out", "others"):
        assert figures["before"][name] > 0.93
        assert figures["tuned"][name] > figures["before"][name] - 0.015
    assert figures["tuned"]["cosine"] > 0.4
