"""Who is it: people enrolled by their photos, and the faces of other photos named.

    python examples/who_is_it.py MODEL DETECTOR people inbox 0.01
    python examples/who_is_it.py       # trains and calibrates a small model, and draws the photos

MODEL is what `marginface calibrate` writes, DETECTOR an SCRFD or YuNet file. `people` has a folder
for each person, `inbox` any photos. The number is the false accept rate of one comparison.
"""

import sys
import tempfile
from itertools import combinations
from pathlib import Path

from drawn_faces import draw_photos
from embed_and_compare import train_small_model
from PIL import Image

import marginface as mf
from marginface.api.identify import IdentifyResult
from marginface.serving.gallery import Gallery
from marginface.serving.thresholds import find_calibration, read_calibrations

PEOPLE, PICTURES = 24, 6
FAR = 1e-2
SHEET = "who_is_it.png"


def draw_people(folder: Path) -> Path:
    """Write drawn crops: of 8 people to enrol and to find, of 4 strangers, of 12 to calibrate on.

    The model is trained on others.
    """
    photos = iter(draw_photos(PEOPLE, PICTURES, seed=1))
    for person in range(PEOPLE):
        for number in range(PICTURES):
            if person >= 12:
                place = folder / "others" / f"{person}" / f"{number}.png"
            elif person < 8 and number < 3:
                place = folder / "people" / f"person {person}" / f"{number}.png"
            else:
                place = folder / "inbox" / f"{person}-{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(next(photos)).save(place)
    return folder


def calibrate(folder: Path, model: Path) -> Path:
    """Find the threshold on every pair of the people who are kept for that; return the model."""
    names = sorted((folder / "others").rglob("*.png"))
    pairs = [
        f"{a.parent.name}/{a.name} {b.parent.name}/{b.name} {int(a.parent == b.parent)}"
        for a, b in combinations(names, 2)
    ]
    (folder / "pairs.txt").write_text("\n".join(pairs) + "\n")
    images, calibrated = folder / "others", folder / "calibrated.onnx"
    mf.calibrate(model, pairs=folder / "pairs.txt", images=images, far=FAR, output=calibrated)
    return calibrated


def ask_face_by_face(model: Path, folder: Path) -> list[str]:
    """Keep a gallery open: enrol somebody, ask for photos one by one; return the decisions."""
    recogniser = mf.Recogniser(model, flip=True)
    calibration, _ = find_calibration(
        read_calibrations(model), recogniser.embedder, flip=True, faces=recogniser.faces_origin
    )
    gallery = Gallery(calibration, far=FAR)
    for photo in sorted((folder / "people" / "person 2").iterdir()):
        gallery.enrol("person 2", *next(recogniser(photo)))
    decisions = []
    for photo in (folder / "inbox" / "2-3.png", folder / "inbox" / "9-0.png"):
        (answer,) = gallery.search(next(recogniser(photo)))
        print(f"{photo.name}: {answer.decision}, {answer.candidates[0].score:.2f}")
        decisions.append(answer.decision)
    return decisions


def show(result: IdentifyResult) -> None:
    """Print who was found, and draw each face beside the people whom it resembles."""
    print(result)
    result.contact_sheet()[0].save(SHEET)
    print(f"wrote {SHEET}")


def main(*given: str) -> IdentifyResult:
    """Name the faces of photos that were given, or of drawn ones."""
    if given:
        model, detector, people, inbox, far = given
        result = mf.identify(people, inbox, model=model, detector=detector, far=float(far))
        show(result)
        return result
    with tempfile.TemporaryDirectory() as name:
        folder = draw_people(Path(name))
        model = calibrate(folder, train_small_model(folder / "small.onnx"))
        result = mf.identify(folder / "people", folder / "inbox", model=model, far=FAR)
        show(result)
        ask_face_by_face(model, folder)
    return result


if __name__ == "__main__":
    if len(sys.argv) not in (1, 6):
        sys.exit(__doc__)
    main(*sys.argv[1:])
