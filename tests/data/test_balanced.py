"""Balanced batches: so many people, so many images of each; a function of seed and number."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from marginface.data.formats.folder import ImageFolder, open_folder
from marginface.data.order import FEW, Balanced
from marginface.data.pipeline import TrainingPipeline
from marginface.data.sources import OpenOptions
from marginface.errors import MarginfaceError

COUNTS = (1, 2, 3, 5, 7, 8)  # images of each person in the folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    root = tmp_path_factory.mktemp("faces")
    for person, count in enumerate(COUNTS):
        for number in range(count):
            path = root / f"id{person}" / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 30 * person + number, np.uint8)).save(path)
    return open_folder(root, OpenOptions(check=True, size=(8, 8)))


@st.composite
def orders(draw: st.DrawFn) -> Balanced:
    """Draw people with some images each, in any order, a person without one among them."""
    counts = draw(st.lists(st.integers(0, 9), min_size=2, max_size=12).filter(any))
    labels = np.random.default_rng(draw(st.integers(0, 9))).permutation(
        np.repeat(np.arange(len(counts)), counts)
    )
    people = draw(st.integers(1, sum(count > 0 for count in counts)))
    return Balanced(labels, people, draw(st.integers(1, 6)), draw(st.integers(0, 2**32 - 1)))


many = settings(deadline=None, max_examples=60, derandomize=True)


@many
@given(orders(), st.integers(0, 10**7))
def test_a_batch_has_so_many_people_and_images_of_each(order: Balanced, number: int) -> None:
    batch = order(number)
    of_whom = order.labels[batch].reshape(order.people, order.each)
    assert (of_whom == of_whom[:, :1]).all()
    assert len(set(of_whom[:, 0])) == order.people
    images = Counter(order.labels.tolist())
    for person, chosen in zip(of_whom[:, 0], batch.reshape(of_whom.shape), strict=True):
        times = Counter(chosen.tolist()).values()
        assert len(times) == min(order.each, images[person])  # twice only where there are too few
        assert max(times) - min(times) <= 1


@many
@given(orders(), st.integers(0, 1000))
def test_each_round_has_everyone_once_but_for_the_rest(order: Balanced, turn: int) -> None:
    everyone = set(order.labels.tolist())
    batches = len(everyone) // order.people
    seen = [
        person
        for number in range(turn * batches, (turn + 1) * batches)
        for person in order.labels[order(number)][:: order.each].tolist()
    ]
    assert len(set(seen)) == len(seen) == len(everyone) - len(everyone) % order.people


@many
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_persons_images_take_turns(count: int, each: int, seed: int) -> None:
    """All images that fit into whole parts come before one of them comes again."""
    order = Balanced(np.zeros(count, np.int64), 1, each, seed)
    parts = max(1, count // each)
    for again in range(3):
        seen = [i for part in range(parts) for i in order(again * parts + part).tolist()]
        assert len(set(seen)) == min(count, parts * each)


def test_everyone_comes_about_equally_often_and_so_do_their_images(folder: ImageFolder) -> None:
    order = Balanced(folder.labels, 4, 2, seed=0)
    rounds = 600  # of one batch with 4 of the 6 people
    chosen = np.concatenate([order(number) for number in range(rounds)])
    people = np.bincount(folder.labels[chosen]) / 2
    assert people.sum() == 4 * rounds
    assert np.abs(people / rounds - 4 / 6).max() < 0.06  # three standard deviations
    images = np.bincount(chosen, minlength=len(folder)) / rounds
    expected = 2 * 4 / 6 / np.array(COUNTS)[folder.labels]
    assert np.abs(images / expected - 1).max() < 0.35


def take(pipeline: TrainingPipeline, count: int) -> list[tuple[bytes, list[int]]]:
    return [(b.images.tobytes(), b.labels.tolist()) for b in itertools.islice(pipeline, count)]


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.integers(0, 12), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_it_goes_on_at_any_step(folder: ImageFolder, done: int, seed: int, threads: int) -> None:
    how = {"batch_size": 6, "people_per_batch": 3, "seed": seed, "augment": ("flip", "crop")}
    whole = take(TrainingPipeline(folder, threads=0, **how), 14)
    first = TrainingPipeline(folder, threads=0, **how)
    assert take(first, done) == whole[:done]
    second = TrainingPipeline(folder, threads=threads, **how)
    second.restore(first.state())
    assert take(second, 14 - done) == whole[done:]


def test_processes_share_a_batch(folder: ImageFolder) -> None:
    how = {"batch_size": 6, "people_per_batch": 3, "seed": 1}
    whole = list(itertools.islice(TrainingPipeline(folder, **how), 5))
    for rank in range(2):
        part = TrainingPipeline(folder, rank=rank, size=2, **how)
        for one, all_ in zip(part, whole, strict=False):
            np.testing.assert_array_equal(one.images, all_.images[rank::2])
            np.testing.assert_array_equal(one.all_labels, all_.labels)


def test_an_epoch_has_as_many_batches_as_a_shuffled_one(folder: ImageFolder) -> None:
    balanced = TrainingPipeline(folder, batch_size=6, people_per_batch=3, seed=0)
    assert (
        balanced.steps_per_epoch == TrainingPipeline(folder, batch_size=6, seed=0).steps_per_epoch
    )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"batch_size": 14, "people_per_batch": 7}, "7, but .* has 6 people; expected at most 6"),
        ({"batch_size": 6, "people_per_batch": 4}, "4 people cannot have equally many of a batch"),
        ({"batch_size": 6, "people_per_batch": 0}, "0 people cannot have equally many of a batch"),
    ],
)
def test_what_makes_no_balanced_batch(
    folder: ImageFolder, how: dict[str, int], message: str
) -> None:
    with pytest.raises(MarginfaceError, match=message):
        TrainingPipeline(folder, seed=0, **how)


def test_the_state_of_shuffled_batches_is_no_state_of_balanced_ones(folder: ImageFolder) -> None:
    shuffled = TrainingPipeline(folder, batch_size=6, seed=0)
    balanced = TrainingPipeline(folder, batch_size=6, people_per_batch=3, seed=0)
    expected = "the saved input pipeline has people_per_batch 3, this one None"
    with pytest.raises(MarginfaceError, match=re.escape(expected)):
        shuffled.restore(balanced.state())
    before = shuffled.state()
    del before["people_per_batch"]  # as runs of before have it
    shuffled.restore(before)


def test_many_people_are_shuffled_without_a_list_of_them() -> None:
    order = Balanced(np.arange(FEW), 64, 2, seed=5)
    seen = [person for number in range(FEW // 64) for person in order(number)[::2].tolist()]
    assert sorted(seen) == list(range(FEW)) != seen
