"""The demo's data: folders of procedural faces with an LFW-style list of pairs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.data.sources import OnProgress, silent
from marginface.demo.drawing.people import draw_person, draw_shot
from marginface.demo.drawing.picture import draw_face
from marginface.errors import MarginfaceError

FOLDS = 10


def write_demo_set(
    folder: str | Path,
    identities: int = 120,
    images: int = 20,
    held_out: int = 40,
    held_out_images: int = 8,
    seed: int = 0,
    *,
    pairs_per_fold: int = 50,
    on_progress: OnProgress = silent,
) -> Path:
    """Draw `train/<id>/*.jpg`, `test/<id>/<id>_%04d.jpg` and `pairs.txt` (LFW's format, ten folds).

    The same arguments give the same files; nobody in `test` is in `train`.

    Args:
        folder: created by the call; must not exist.
        identities: people to train on, `images` pictures of each.
        held_out: people to verify, `held_out_images` pictures of each.
        seed: of people, pictures and pairs.
        pairs_per_fold: pairs of the same person in a fold, and as many of two people.
        on_progress: called with (pictures drawn, pictures in all).

    Returns:
        The folder.

    Raises:
        MarginfaceError: the folder exists, or a number is too small.
    """
    target = Path(folder)
    if target.exists():
        raise MarginfaceError(f"'{target}' exists; name a new folder or remove it")
    for name, value, least in (
        ("identities", identities, 1),
        ("images", images, 1),
        ("held_out", held_out, 2),
        ("held_out_images", held_out_images, 2),
        ("pairs_per_fold", pairs_per_fold, 1),
    ):
        if value < least:
            raise MarginfaceError(f"{name} must be at least {least}, got {value}")
    target.parent.mkdir(parents=True, exist_ok=True)
    total, done = identities * images + held_out * held_out_images, 0
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name:
        building = Path(name) / "set"
        for number in range(identities + held_out):
            test = number >= identities
            identity = f"person_{number + 1:04d}"
            place = building / ("test" if test else "train") / identity
            place.mkdir(parents=True)
            drawn = draw_pictures(seed, number, held_out=test)
            for shot in range(held_out_images if test else images):
                pixels, quality = next(drawn)
                picture = place / f"{identity}_{shot + 1:04d}.jpg"
                Image.fromarray(pixels).save(picture, quality=quality)
                done += 1
                on_progress(done, total)
        names = [f"person_{identities + k + 1:04d}" for k in range(held_out)]
        lines = _pairs(names, held_out_images, pairs_per_fold, np.random.default_rng((seed, 1, 1)))
        (building / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        building.replace(target)
    return target


def draw_pictures(
    seed: int, number: int, *, held_out: bool
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yield pictures of a person of the demo, uint8 [112, 112, 3], and their JPEG quality.

    Args:
        seed: of the set.
        number: of the person, from 0; those held out go on counting.
        held_out: whether the person is one of these.
    """
    # A generator for each person: more identities leave the earlier ones as they were.
    rng = np.random.default_rng((seed, 2**32 - number if held_out else number))
    person = draw_person(rng)
    while True:
        shot = draw_shot(rng)
        yield draw_face(person, shot), shot.quality


def _pairs(names: list[str], images: int, count: int, rng: np.random.Generator) -> list[str]:
    lines = [f"{FOLDS}\t{count}"]
    same_pairs = [(name, i, j) for name in names for i, j in combinations(range(1, images + 1), 2)]
    # A pair comes again only when there are no others left.
    order = iter(np.resize(rng.permutation(len(same_pairs)), FOLDS * count))
    for _ in range(FOLDS):
        lines += ["\t".join(map(str, same_pairs[next(order)])) for _ in range(count)]
        for _ in range(count):
            one, other = rng.choice(len(names), 2, replace=False)
            first, second = rng.integers(1, images + 1, 2)
            lines.append(f"{names[one]}\t{first}\t{names[other]}\t{second}")
    return lines
