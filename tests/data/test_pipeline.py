import itertools
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from real_faces import FACES, needs_faces

from marginface.data.augmentation import AUGMENTATIONS, PRESETS, augmentation
from marginface.data.formats.folder import ImageFolder, open_folder
from marginface.data.pipeline import Batch, TrainingPipeline
from marginface.data.sources import OpenOptions
from marginface.errors import MarginfaceError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Forty 16 x 16 images of eight identities; the top left pixel of image i has red i."""
    root = tmp_path_factory.mktemp("faces")
    for number in range(40):
        path = root / f"id{number // 5}" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        image = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        image[0, 0, 0] = number
        Image.fromarray(image).save(path)
    return open_folder(root, OpenOptions(check=True, size=(16, 16)))


def take(pipeline: TrainingPipeline, count: int) -> list[Batch]:
    return list(itertools.islice(pipeline, count))


def numbers(batch: Batch) -> list[int]:
    """Return which images a batch without augmentation holds."""
    return [int(value) for value in batch.images[:, 0, 0, 0]]


def assert_equal(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


def differ(ours: list[Batch], theirs: list[Batch]) -> bool:
    return any(
        not np.array_equal(one.images, other.images)
        for one, other in zip(ours, theirs, strict=True)
    )


def test_batches_have_the_stated_types(folder: ImageFolder) -> None:
    batch = next(TrainingPipeline(folder, batch_size=6, seed=0))
    assert batch.images.shape == (6, 16, 16, 3)
    assert batch.images.dtype == np.uint8
    assert batch.labels.shape == (6,)
    assert batch.labels.dtype == np.int64


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_an_epoch_is_a_permutation(
    folder: ImageFolder, batch_size: int, seed: int, threads: int
) -> None:
    pipeline = TrainingPipeline(
        folder, batch_size=batch_size, seed=seed, augment=(), threads=threads
    )
    assert pipeline.steps_per_epoch == 40 // batch_size
    for _ in range(2):
        epoch = take(pipeline, pipeline.steps_per_epoch)
        seen = [number for batch in epoch for number in numbers(batch)]
        labels = [label for batch in epoch for label in batch.labels]
        assert len(set(seen)) == len(seen) == pipeline.steps_per_epoch * batch_size
        assert labels == [number // 5 for number in seen]


def test_each_epoch_and_each_seed_has_its_own_order(folder: ImageFolder) -> None:
    orders = []
    for seed in range(3):
        pipeline = TrainingPipeline(folder, batch_size=40, seed=seed, augment=())
        orders += [tuple(numbers(batch)) for batch in take(pipeline, 3)]
    assert len(set(orders)) == 9
    assert tuple(range(40)) not in orders


def test_every_image_is_left_out_of_some_epoch_at_times(folder: ImageFolder) -> None:
    pipeline = TrainingPipeline(folder, batch_size=30, seed=0, augment=())
    left_out = [set(range(40)) - set(numbers(batch)) for batch in take(pipeline, 30)]
    assert set.union(*left_out) == set(range(40))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(folder: ImageFolder, threads: int) -> None:
    options = {"batch_size": 7, "seed": 3, "augment": tuple(AUGMENTATIONS)}
    alone = TrainingPipeline(folder, threads=0, **options)
    assert_equal(take(TrainingPipeline(folder, threads=threads, **options), 12), take(alone, 12))


def test_batches_are_those_of_grains_own_shuffle_and_random_map(folder: ImageFolder) -> None:
    """The order and the draws of a seed stay what they are, whatever reads the images."""
    import grain

    apply = augmentation(["flip", "erase"])
    samples = (
        grain.MapDataset.source(folder)
        .seed(2**32 - 2)  # the seed of an epoch's order wraps around
        .shuffle()
        .random_map(lambda sample, rng: apply(sample[0], rng))
        .slice(slice(35))
        .batch(7)
        .repeat()
    )
    pipeline = TrainingPipeline(
        folder, batch_size=7, seed=2**32 - 2, augment=("flip", "erase"), threads=2
    )
    for number, batch in enumerate(take(pipeline, 17)):
        np.testing.assert_array_equal(batch.images, samples[number])


def test_a_preset_is_recorded_as_what_it_stands_for(folder: ImageFolder) -> None:
    preset = TrainingPipeline(folder, batch_size=8, seed=0, augment=("adaface",))
    assert preset.state()["augment"] == list(PRESETS["adaface"])
    same = TrainingPipeline(folder, batch_size=8, seed=0, augment=PRESETS["adaface"])
    take(same, 3)
    same.restore(preset.state())
    assert_equal(take(same, 3), take(preset, 3))


@pytest.mark.parametrize("threads", [0, 2])
def test_memory_is_flat(folder: ImageFolder, threads: int) -> None:
    pipeline = TrainingPipeline(folder, batch_size=40, seed=0, threads=threads)
    tracemalloc.start()
    try:
        used = []
        for _ in range(3):
            for _ in range(30):
                next(pipeline)
            used.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    batch = 40 * 16 * 16 * 3
    assert used[2] - used[1] < 8 * batch  # as many may be read ahead or just handed over


def test_augmentation_is_drawn_anew_in_each_epoch(folder: ImageFolder) -> None:
    plain = TrainingPipeline(folder, batch_size=40, seed=3, augment=())
    flipped = TrainingPipeline(folder, batch_size=40, seed=3, augment=("flip",))
    decisions = []
    for _ in range(2):
        order, pixels = numbers(before := next(plain)), next(flipped).images
        mirrored = (pixels == before.images[:, :, ::-1]).all(axis=(1, 2, 3))
        assert (mirrored | (pixels == before.images).all(axis=(1, 2, 3))).all()
        decisions.append(mirrored[np.argsort(order)])
        assert 8 < mirrored.sum() < 32
    assert not np.array_equal(*decisions)


@settings(deadline=None, max_examples=4, derandomize=True)
@given(st.data())
def test_processes_share_the_batches_of_one(folder: ImageFolder, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 5), "size")
    options = {
        "batch_size": size * data.draw(st.integers(-(-13 // size), 40 // size), "share"),
        "seed": data.draw(st.integers(0, 2**32 - 1), "seed"),
        "augment": ("flip", "erase"),
        "threads": 0,
    }
    alone = TrainingPipeline(folder, **options)
    shares = [TrainingPipeline(folder, **options, rank=rank, size=size) for rank in range(size)]
    for _ in range(2 * alone.steps_per_epoch + 1):
        whole = next(alone)
        for rank, pipeline in enumerate(shares):
            share = next(pipeline)
            np.testing.assert_array_equal(share.images, whole.images[rank::size])
            np.testing.assert_array_equal(share.labels, whole.labels[rank::size])
            np.testing.assert_array_equal(share.all_labels, whole.labels)
            assert share.all_labels.dtype == whole.all_labels.dtype == np.int64


def test_each_process_reads_its_own_share_alone(folder: ImageFolder) -> None:
    counting = [CountingFolder(**vars(folder)) for _ in range(3)]
    for rank, own in enumerate(counting):
        take(TrainingPipeline(own, batch_size=12, seed=5, threads=0, rank=rank, size=3), 3)
    assert [len(vars(own)["reads"]) for own in counting] == [12] * 3
    reads = [index for own in counting for index in vars(own)["reads"]]
    assert len(set(reads)) == 36  # an epoch


def test_a_state_is_the_same_for_any_number_of_processes(folder: ImageFolder) -> None:
    options = {"batch_size": 12, "seed": 11, "augment": ("flip", "erase"), "threads": 2}
    alone = TrainingPipeline(folder, **options)
    pair = [TrainingPipeline(folder, **options, rank=rank, size=2) for rank in range(2)]
    for pipeline in (alone, *pair):
        take(pipeline, 5)
        assert pipeline.state() == alone.state()
    saved, rest = json.dumps(pair[1].state()), take(alone, 5)
    for rank in range(3):
        third = TrainingPipeline(folder, **options, rank=rank, size=3)
        third.restore(json.loads(saved))
        for share, whole in zip(take(third, 5), rest, strict=True):
            np.testing.assert_array_equal(share.images, whole.images[rank::3])
            np.testing.assert_array_equal(share.all_labels, whole.labels)


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("killed_after", [0, 5, 7])
def test_a_killed_run_continues_exactly(
    folder: ImageFolder, threads: int, killed_after: int
) -> None:
    def opened(threads: int) -> TrainingPipeline:
        return TrainingPipeline(
            folder, batch_size=8, seed=11, augment=("flip", "erase"), threads=threads
        )

    killed = opened(2)
    take(killed, killed_after)
    saved = json.dumps(killed.state())
    rest = take(killed, 5)
    resumed = opened(threads)
    take(resumed, 3)  # what it had read and prefetched before must not matter
    resumed.restore(json.loads(saved))
    assert resumed.state() == json.loads(saved)
    assert_equal(take(resumed, 5), rest)
    assert differ(take(opened(2), 5), rest) == (killed_after > 0)


class CountingFolder(ImageFolder):
    """Remembers which images were read."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        self.__dict__.setdefault("reads", []).append(index)
        return super().__getitem__(index)


def test_restoring_reads_nothing_of_what_came_before(folder: ImageFolder) -> None:
    counting = CountingFolder(**vars(folder))
    pipeline = TrainingPipeline(counting, batch_size=8, seed=0, threads=0)
    pipeline.restore({**pipeline.state(), "next_batch": 1_000_000})
    next(pipeline)
    assert len(vars(counting)["reads"]) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "has seed 0, this one 1"),
        ({"batch_size": 4}, "has batch_size 8, this one 4"),
        ({"augment": ()}, r"has augment \['flip'\], this one \[\]"),
    ],
)
def test_a_state_of_other_settings_is_refused(
    folder: ImageFolder, change: dict[str, object], message: str
) -> None:
    options = {"batch_size": 8, "seed": 0, "augment": ("flip",)}
    state = TrainingPipeline(folder, **options).state()
    with pytest.raises(MarginfaceError, match=message):
        TrainingPipeline(folder, **{**options, **change}).restore(state)


def test_a_state_of_other_images_is_refused(folder: ImageFolder) -> None:
    state = TrainingPipeline(folder, batch_size=8, seed=0).state()
    renamed = ImageFolder(
        folder.root,
        folder.identities,
        ("id0/other.png", *folder.paths[1:]),
        folder.labels,
        folder.size,
        folder.resize,
    )
    with pytest.raises(MarginfaceError, match="images_sha256"):
        TrainingPipeline(renamed, batch_size=8, seed=0).restore(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 41}, "batch size 41 .* 40 images; expected 1 to 40"),
        ({"batch_size": 0}, "batch size 0"),
        ({"seed": -1}, "seed must be 0 to 4294967295, got -1"),
        ({"seed": 2**32}, "seed"),
        ({"threads": -1}, "threads must be 0 or more"),
        ({"augment": ("flipp",)}, "unknown augmentation 'flipp'"),
        ({"size": 3}, "batch_size 8 cannot be shared evenly by 3 processes"),
        ({"rank": 2, "size": 2}, "rank must be 0 to 1, got 2"),
    ],
)
def test_bad_arguments_are_refused(
    folder: ImageFolder, change: dict[str, object], message: str
) -> None:
    options: dict[str, object] = {"batch_size": 8, "seed": 0, **change}
    with pytest.raises(MarginfaceError, match=message):
        TrainingPipeline(folder, **options)


@pytest.mark.parametrize("threads", [0, 2])
def test_an_image_that_vanishes_during_training_is_named(tmp_path: Path, threads: int) -> None:
    for name in ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / name)
    pipeline = TrainingPipeline(
        open_folder(tmp_path, OpenOptions(check=True, size=(16, 16))),
        batch_size=2,
        seed=0,
        threads=threads,
    )
    (tmp_path / "b" / "1.png").unlink()
    with pytest.raises(MarginfaceError, match=r"b/1\.png: cannot read the image: No such file"):
        take(pipeline, 2)


def test_importing_loads_no_framework_and_prints_nothing() -> None:
    code = (
        "import sys, marginface.data.pipeline; "
        "print([name for name in ('torch', 'tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""


@needs_faces
def test_real_faces_come_with_their_labels() -> None:
    folder = open_folder(FACES / "lfw112" / "train", OpenOptions(check=True))
    assert len(folder) == 6671
    assert len(folder.identities) == 1184
    pipeline = TrainingPipeline(folder, batch_size=64, seed=0, augment=())
    assert pipeline.steps_per_epoch == 104
    pixels = {folder[index][0].tobytes(): folder.labels[index] for index in range(0, 6671, 10)}
    found = [
        (pixels[image.tobytes()], label)
        for batch in take(pipeline, 10)
        for image, label in zip(batch.images, batch.labels, strict=True)
        if image.tobytes() in pixels
    ]
    assert len(found) > 30
    assert all(expected == label for expected, label in found)
