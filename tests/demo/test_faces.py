"""The demo's procedural faces: deterministic, varied, and laid out as LFW is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marginface.demo.drawing.people import Shot, draw_person, draw_shot
from marginface.demo.drawing.picture import draw_face
from marginface.demo.faces import write_demo_set
from marginface.errors import MarginfaceError


def test_a_picture_is_an_rgb_image_and_comes_again_from_the_same_seed() -> None:
    first, second = (
        draw_face(draw_person(rng), draw_shot(rng)) for rng in map(np.random.default_rng, (5, 5))
    )
    assert first.shape == (112, 112, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("seed", range(40))
def test_every_draw_gives_a_picture_with_contrast(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = draw_face(draw_person(rng), draw_shot(rng))
    assert picture.std() > 8
    assert 10 < picture.mean() < 245


def test_people_differ_more_than_pictures_taken_alike() -> None:
    rng = np.random.default_rng(0)
    shot = Shot()
    people = [draw_person(rng) for _ in range(8)]
    portraits = [draw_face(person, shot).astype(float) for person in people]
    retakes = [draw_face(person, replace(shot, gaze=(0.1, 0.0))).astype(float) for person in people]
    same = [np.abs(a - b).mean() for a, b in zip(portraits, retakes, strict=True)]
    other = [np.abs(portraits[k] - portraits[k - 1]).mean() for k in range(8)]
    assert max(same) * 5 < min(other)


def test_a_turned_head_moves_the_features_sideways() -> None:
    person = draw_person(np.random.default_rng(2))
    left, right = (draw_face(person, Shot(yaw=yaw)).astype(float) for yaw in (-0.3, 0.3))
    assert np.abs(left - right).mean() > 3
    # A head turned the other way under frontal light is about the mirror image.
    light = (0.0, -0.5)
    left, right = (
        draw_face(replace(person, hair=None, moles=np.empty((0, 2))), Shot(yaw=yaw, light=light))
        for yaw in (-0.3, 0.3)
    )
    assert np.abs(left.astype(float) - right[:, ::-1]).mean() < 3


def test_the_set_is_laid_out_as_lfw_and_reproducible(tmp_path: Path) -> None:
    first = write_demo_set(tmp_path / "a", 3, 2, 4, 3, seed=1, pairs_per_fold=5)
    second = write_demo_set(tmp_path / "b", 3, 2, 4, 3, seed=1, pairs_per_fold=5)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 3 * 2 + 4 * 3 + 1
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)
    with Image.open(first / "train" / "person_0001" / "person_0001_0001.jpg") as image:
        assert image.size == (112, 112)
    train, test = ({path.name for path in (first / part).iterdir()} for part in ("train", "test"))
    assert not train & test
    header, *lines = (first / "pairs.txt").read_text().splitlines()
    assert header == "10\t5"
    assert len(lines) == 100
    for fold in range(10):
        rows = [line.split("\t") for line in lines[fold * 10 : fold * 10 + 10]]
        assert [len(row) for row in rows] == [3] * 5 + [4] * 5
        for row in rows:
            named = [(row[0], row[1]), (row[-2] if len(row) == 4 else row[0], row[-1])]
            assert named[0] != named[1]
            for name, number in named:
                assert (first / "test" / name / f"{name}_{int(number):04d}.jpg").is_file()


def test_another_seed_gives_other_people(tmp_path: Path) -> None:
    first, second = (
        write_demo_set(tmp_path / str(seed), 1, 1, 2, 2, seed=seed, pairs_per_fold=1)
        for seed in (0, 1)
    )
    name = "train/person_0001/person_0001_0001.jpg"
    assert (first / name).read_bytes() != (second / name).read_bytes()


def test_more_identities_leave_the_first_as_they_were(tmp_path: Path) -> None:
    few, many = (
        write_demo_set(tmp_path / str(count), count, 1, 2, 2, pairs_per_fold=1) for count in (1, 2)
    )
    name = "train/person_0001/person_0001_0001.jpg"
    assert (few / name).read_bytes() == (many / name).read_bytes()


def test_refuses_an_existing_folder_and_too_few_people(tmp_path: Path) -> None:
    with pytest.raises(MarginfaceError, match="exists"):
        write_demo_set(tmp_path)
    with pytest.raises(MarginfaceError, match="held_out must be at least 2, got 1"):
        write_demo_set(tmp_path / "new", held_out=1)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_draw_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2 and total == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo_set(tmp_path / "new", 2, 2, 2, 2, on_progress=stop)
    assert not list(tmp_path.iterdir())
