"""Folders, .rec and .tfrecord files open alike, and train alike."""

import itertools

import numpy as np
import pytest
from PIL import Image
from record_files import im2rec, image, insightface, pack, png

from marginface.data.opening import open_by_name, open_images
from marginface.data.pipeline import TrainingPipeline
from marginface.errors import MarginfaceError


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The same forty images of eight identities in a folder, a .rec and a .tfrecord."""
    root = tmp_path_factory.mktemp("places")
    for number in range(40):
        path = root / "faces" / f"id{number // 5}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (112, 112, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    for name in ("a.rec", "a.tfrecord"):
        pack(root / "faces", root / name)
    return root


@pytest.mark.parametrize("name", ["a.rec", "a.tfrecord"])
@pytest.mark.parametrize("threads", [0, 3])
def test_batches_of_a_file_are_those_of_the_folder(places, name, threads):
    def batches(path):
        pipeline = TrainingPipeline(
            open_images(path), batch_size=6, seed=1, augment=("flip", "affine"), threads=threads
        )
        return list(itertools.islice(pipeline, 15)), pipeline.state()

    ours, state = batches(places / name)
    theirs, other = batches(places / "faces")
    assert state == other  # so the one goes on where the other stopped
    for one, another in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.images, another.images)
        np.testing.assert_array_equal(one.labels, another.labels)


@pytest.mark.parametrize("threads", [0, 3])
def test_a_bad_image_met_in_training_is_one_line_that_names_it(tmp_path, threads):
    path = im2rec(tmp_path / "a.rec", [number % 2 for number in range(1000)])
    with path.open("r+b") as file:
        file.seek(len(image(0, 0, 0)) + 8 + 24)  # where the image of record 1 begins
        file.write(bytes(8))
    pipeline = TrainingPipeline(open_images(path), batch_size=10, seed=0, threads=threads)
    with pytest.raises(
        MarginfaceError, match=r"^\S+a\.rec: record 1 \(1/1\): cannot read"
    ) as caught:
        list(itertools.islice(pipeline, 100))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["faces", "a.rec", "a.tfrecord"])
def test_images_by_name(places, name):
    source, names = open_by_name(places / name)
    assert names[:6] == [f"id{number // 5}/{number:02d}.png" for number in range(6)]
    assert len(names) == 40
    expected = (places / "faces" / names[7]).read_bytes()
    assert source.encoded(names[7]) == expected
    assert source.root == places / name
    with pytest.raises(MarginfaceError, match=r"id0/99\.png"):
        source.encoded("id0/99.png")


def test_what_holds_no_labelled_images(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(MarginfaceError, match=r"gone; expected a folder of images, a \.rec or a"):
        open_images(tmp_path / "gone")
    with pytest.raises(MarginfaceError, match=r"notes\.txt is a file of another kind; expected a"):
        open_images(tmp_path / "notes.txt")
    with pytest.raises(MarginfaceError, match=r"number of identities in .* is 1"):
        open_images(im2rec(tmp_path / "one.rec", [4, 4]))


def test_a_folder_around_a_rec_names_the_rec(tmp_path):
    (tmp_path / "faces_emore").mkdir()
    insightface(tmp_path / "faces_emore" / "train.rec", [0, 1])
    with pytest.raises(MarginfaceError, match=r"give .*faces_emore/train\.rec instead"):
        open_images(tmp_path / "faces_emore")


@pytest.mark.parametrize("name", ["faces", "a.tfrecord"])
def test_there_is_an_index_to_rebuild_in_a_rec_alone(places, name):
    for function in (open_images, open_by_name):
        with pytest.raises(MarginfaceError, match=r"--rebuild-index is for a \.rec alone"):
            function(places / name, rebuild_index=True)


def test_other_bytes_under_a_known_ending(tmp_path):
    for name in ("a.rec", "a.tfrecord"):
        (tmp_path / name).write_bytes(png(1))
        with pytest.raises(MarginfaceError, match=str(tmp_path / "a")):
            open_images(tmp_path / name)
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(MarginfaceError, match=str(tmp_path / "a")):
            open_images(tmp_path / name)
