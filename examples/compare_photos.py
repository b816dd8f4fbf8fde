"""Two photos to a decision: thresholds measured on pairs, kept with the model, and an answer.

    python examples/compare_photos.py MODEL DETECTOR one.jpg other.jpg 1e-2
    python examples/compare_photos.py       # trains a small model, and draws the photos

MODEL is what `marginface calibrate` writes, DETECTOR an SCRFD or YuNet file, the number a false
accept rate that the model is calibrated for. The picture goes to comparison.png.
"""

import sys
import tempfile
from itertools import combinations
from pathlib import Path

from drawn_faces import draw_photos
from embed_and_compare import train_small_model
from PIL import Image

import marginface as mf


def draw_people(folder: Path, people: int, seed: int) -> list[list[Path]]:
    """Draw six pictures of each person; return their files, person by person."""
    photos = iter(draw_photos(people, 6, seed))
    files = []
    for number in range(people):
        name = f"person_{seed}_{number}"
        (folder / name).mkdir(parents=True)
        files.append([folder / name / f"{name}_{shot:04}.png" for shot in range(1, 7)])
        for path in files[-1]:
            Image.fromarray(next(photos)).save(path)
    return files


def write_pairs(path: Path, people: list[list[Path]]) -> Path:
    """Write every pair of pictures in LFW's format: `name i j`, or `name i other j`."""
    shots = [(files[0].parent.name, shot) for files in people for shot in range(1, 7)]
    lines = [
        f"{one}\t{i}\t{j}" if one == other else f"{one}\t{i}\t{other}\t{j}"
        for (one, i), (other, j) in combinations(shots, 2)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def main(*given: str) -> list[str]:
    """Compare the photos that were given, or drawn ones of people whom the model never saw."""
    if given:
        model, detector, one, other, far = given
        found = mf.compare(one, other, model=model, detector=detector, far=float(far))
        print(found)
        found.picture().save("comparison.png")
        return [found.answer]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = train_small_model(folder / "small.onnx")
        # Thresholds are measured on some people, and used for others.
        pairs = write_pairs(folder / "pairs.txt", draw_people(folder / "known", 16, seed=1))
        calibrated = folder / "calibrated.onnx"
        print(
            mf.calibrate(
                model, pairs=pairs, images=folder / "known", far=[1e-1, 1e-2], output=calibrated
            )
        )
        ann, bo = draw_people(folder / "new", 2, seed=2)
        compare = mf.comparer(calibrated, far=1e-1)  # drawn photos are crops: no detector
        answers = []
        for one, other in ((ann[0], ann[1]), (ann[0], bo[0])):
            found = compare(one, other)
            print(f"{one.name} and {other.name}\n{found}")
            answers.append(found.answer)
        return answers


if __name__ == "__main__":
    if len(sys.argv) not in (1, 6):
        sys.exit(__doc__)
    main(*sys.argv[1:])
