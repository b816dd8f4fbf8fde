"""Crops for a contact sheet: those that a search kept and those made anew are the same."""

from pathlib import Path

import numpy as np
from PIL import Image
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector

from marginface.serving import identifying
from marginface.serving.contact_sheet import crops_in
from marginface.serving.gallery import Gallery
from marginface.serving.identifying import Source, ask, enrol_people
from marginface.serving.recogniser import Recogniser


def test_crops_beyond_those_kept_are_made_anew(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("people/ann/1.png", "people/bo/1.png", "inbox/1.png", "inbox/2.png"):
        photo = photo_with(192, 224, (16, 6, 5), (8, 22, 18))
        photo[photo == 0] = rng.integers(0, 60, (photo == 0).sum())
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(tmp_path / name)
    recogniser = Recogniser(
        save_model(tmp_path / "m.onnx"), save_detector(tmp_path / "d.onnx"), batch_size=1
    )

    def crops(kept: int) -> tuple[list[np.ndarray], int]:
        gallery = Gallery()
        sources = [
            Source(part, tmp_path / place, crops_left=kept)
            for part, place in (("gallery", "people"), ("probes", "inbox"))
        ]
        enrol_people(gallery, sources[0], recogniser)
        made, own = [], 0
        for answer in ask(gallery, sources[1], recogniser, 2):
            of_people, of_probes = (crops_in(each.path, (112, 112)) for each in sources)
            faces = [answer.face, *(each.face for each in answer.candidates)]
            own += sum(face.crop.size > 0 for face in faces)
            found = [of_probes(answer.face), *(of_people(face) for face in faces[1:])]
            assert all(crop is not None for crop in found)
            made += [crop for crop in found if crop is not None]
        return made, own

    (all_kept, own), (anew, none) = crops(identifying.CROPS_KEPT), crops(0)
    assert (own, none) == (len(all_kept), 0)
    assert len(anew) == 4 * 3
    for kept, made in zip(all_kept, anew, strict=True):
        np.testing.assert_array_equal(kept, made)
