"""Who is on real photos: each person by one photo, and strangers."""

from __future__ import annotations

import shutil
from pathlib import Path

from real_faces import FACES, needs_faces

import marginface as mf
from marginface.embeddings.origin import CROPS
from marginface.evaluation.calibration import Threshold
from marginface.model import THRESHOLDS_KEY
from marginface.onnx.metadata import write_with_metadata
from marginface.serving.thresholds import Calibration, to_text

STRANGERS = ("John_Stallworth", "Rachel_Hunter")
PREPROCESSING = {"mean": "123.675,116.28,103.53", "std": "58.395,57.12,57.375"}


@needs_faces
def test_ten_people_are_found_and_two_strangers_are_nobody(tmp_path: Path) -> None:
    for path in sorted((FACES / "photos").glob("*.jpg")):
        name, number = path.stem[:-5], path.stem[-4:]
        if number != "0001":
            (tmp_path / "inbox").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "inbox")
        elif name not in STRANGERS:
            (tmp_path / "people" / name).mkdir(parents=True)
            shutil.copy(path, tmp_path / "people" / name)
    weights = FACES / "weights"
    public, model = weights / "mobilefacenet_paper.onnx", tmp_path / "calibrated.onnx"
    fingerprint = mf.load(public, **PREPROCESSING).embedder.fingerprint
    rate = (0.02, 0.01, 0.04)
    at = Threshold(2e-2, 0.256, 0.242, 0.288, True, rate, rate)  # on LFW's development pairs
    kept = Calibration(fingerprint, True, CROPS, "pairsDevTest", 500, 500, (at,))
    write_with_metadata(public, model, {THRESHOLDS_KEY: to_text([kept])})
    result = mf.identify(
        tmp_path / "people",
        tmp_path / "inbox",
        model=mf.load(model, **PREPROCESSING),
        detector=weights / "scrfd_2.5g_bnkps.onnx",
        far=2e-2,
    )
    of_whom = {answer.face.photo[:-9]: answer for answer in result.answers if answer.number == 0}
    assert len(of_whom) == 12
    for name, answer in of_whom.items():
        assert answer.name == (None if name in STRANGERS else name)
        assert answer.decision == ("nobody" if name in STRANGERS else "found")
    bystanders = [answer for answer in result.answers if answer.number > 0]
    assert bystanders
    assert {answer.decision for answer in bystanders} == {"nobody"}
    (sheet,) = result.contact_sheet()
    assert sheet.width > 700
