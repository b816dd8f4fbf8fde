"""Several training sets as one: whose images they are, and what is refused."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from record_files import insightface, pack

from marginface.data.joined import JoinedImages
from marginface.data.opening import open_images, open_sets
from marginface.data.pipeline import TrainingPipeline
from marginface.errors import MarginfaceError

SIZE = (12, 12)


def faces(root: Path, shade: int, **people: int) -> Path:
    """Draw a folder of identities with so many images each; the shade tells the set."""
    for number, (name, count) in enumerate(people.items()):
        (root / name).mkdir(parents=True)
        for image in range(count):
            pixels = np.full((*SIZE, 3), (shade, 20 * number, 20 * image), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{image}.png")
    return root


@pytest.fixture
def two(tmp_path):
    return [faces(tmp_path / "a", 10, ann=2, bo=3), faces(tmp_path / "b", 90, ann=2, cid=1)]


def seen(images):
    """Return each image's name, identity and pixel."""
    return [
        (images.name(i), images.identities[images[i][1]], *images[i][0][0, 0].tolist())
        for i in range(len(images))
    ]


def test_each_set_has_its_own_identities(two):
    images = open_sets(two, size=SIZE)
    assert images.identities == ("a/ann", "a/bo", "b/ann", "b/cid")
    assert images.labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 3]
    assert images.in_several == 1
    assert seen(images)[4:6] == [
        ("a/bo/2.png", "a/bo", 10, 20, 40),
        ("b/ann/0.png", "b/ann", 90, 0, 0),
    ]


def test_names_are_joined_when_asked(two):
    images = open_sets(two[::-1], size=SIZE, join_identities=True)
    assert images.identities == ("ann", "cid", "bo")
    assert [(name, who) for name, who, *_ in seen(images)] == [
        *(("b/ann/0.png", "ann"), ("b/ann/1.png", "ann"), ("b/cid/0.png", "cid")),
        *(("a/ann/0.png", "ann"), ("a/ann/1.png", "ann")),
        *((f"a/bo/{i}.png", "bo") for i in range(3)),
    ]


def test_names_are_joined_in_whatever_form_unicode_writes_them(tmp_path):
    forms = [unicodedata.normalize(form, "José") for form in ("NFC", "NFD")]
    sets = [faces(tmp_path / str(n), 0, **{form: 1, "bo": 1}) for n, form in enumerate(forms)]
    assert open_sets(sets, size=SIZE, join_identities=True).identities == (forms[0], "bo")
    assert open_sets(sets, size=SIZE).in_several == 2


@pytest.mark.parametrize("endings", [(".rec", ""), ("", ".tfrecord"), (".tfrecord", ".rec")])
def test_files_and_folders_mix(two, tmp_path, endings):
    mixed = [
        pack(folder, tmp_path / f"{folder.name}{ending}", SIZE) if ending else folder
        for folder, ending in zip(two, endings, strict=True)
    ]
    assert seen(open_sets(mixed, size=SIZE)) == seen(open_sets(two, size=SIZE))
    fingerprints = {open_sets(sets, size=SIZE).fingerprint() for sets in (two, mixed)}
    assert len(fingerprints) == 1
    assert open_sets(two[::-1], size=SIZE).fingerprint() not in fingerprints


def test_one_set_is_as_it_was(two):
    one = open_sets(two[:1], size=SIZE)
    assert not isinstance(one, JoinedImages)
    assert seen(one) == seen(open_images(two[0], size=SIZE))
    assert one.fingerprint() == open_images(two[0], size=SIZE).fingerprint()


def test_sets_of_one_name_are_told_apart(two, tmp_path):
    for folder in two:
        shutil.copytree(folder, tmp_path / "x" / folder.name / "train")
    paths = [tmp_path / "x" / name / "train" for name in ("a", "b")]
    assert open_sets(paths, size=SIZE).identities[0] == "a_train/ann"
    # Sets that have moved keep the names that they had; ones that changed places do not.
    assert open_sets(paths, names=["p", "q"], size=SIZE).identities[0] == "p/ann"
    swapped = open_sets(paths, names=["b_train", "a_train"], size=SIZE)
    assert swapped.identities[0] == "a_train/ann"


def test_a_set_of_one_identity_does_among_others(two, tmp_path):
    alone = faces(tmp_path / "one", 0, dan=2)
    assert open_sets([two[0], alone], size=SIZE).identities == ("a/ann", "a/bo", "one/dan")
    other = faces(tmp_path / "other", 0, dan=2)
    assert len(open_sets([alone, other], size=SIZE).identities) == 2
    with pytest.raises(MarginfaceError, match=r"identities in the set of .* is 1, need at least 2"):
        open_sets([alone, other], size=SIZE, join_identities=True)


def test_what_is_skipped_names_its_set(two):
    (two[1] / "ann" / "1.png").write_bytes(b"no image")
    with pytest.raises(MarginfaceError, match=r"1 of 3 images in .*/b cannot be used"):
        open_sets(two, size=SIZE)
    images = open_sets(two, size=SIZE, skip_bad=True)
    assert [name for name, _ in images.skipped] == ["b/ann/1.png"]
    assert images.labels.tolist() == [0, 0, 1, 1, 1, 2, 3]


def test_images_of_another_size_are_resized_in_each_set(two, tmp_path):
    large = tmp_path / "large"
    shutil.copytree(two[0], large)
    Image.new("RGB", (30, 20)).save(large / "ann" / "0.png")
    images = open_sets([two[1], large], size=SIZE, resize=True)
    assert images[3][0].shape == (*SIZE, 3)


@pytest.mark.parametrize("threads", [0, 3])
def test_batches_depend_on_nothing_but_the_sets(two, threads):
    pipeline = TrainingPipeline(
        open_sets(two, size=SIZE), batch_size=4, seed=3, augment=(), threads=threads
    )
    expected = {(10, 0): 0, (10, 20): 1, (90, 0): 2, (90, 20): 3}
    for _ in range(4):
        batch = next(pipeline)
        pixels = [tuple(image[0, 0, :2].tolist()) for image in batch.images]
        assert [expected[pixel] for pixel in pixels] == batch.labels.tolist()


def test_a_set_given_twice_is_refused_however_it_is_called(two, tmp_path):
    (tmp_path / "link").symlink_to(two[0])
    for again in (two[0], two[0] / ".." / "a", tmp_path / "link"):
        with pytest.raises(
            MarginfaceError, match=r"training set .* is given twice.*; give it once"
        ):
            open_sets([two[0], two[1], again], size=SIZE)
    shards = [tmp_path / f"s.tfrecord-0000{n}-of-00002" for n in range(2)]
    for shard in shards:
        shard.touch()
    with pytest.raises(MarginfaceError, match="is given twice"):
        open_sets(shards, size=SIZE)


def test_sets_of_the_same_images_are_named(two, tmp_path):
    packed = pack(two[0], tmp_path / "packed.rec", SIZE)
    copy = shutil.copytree(two[0], tmp_path / "copy")
    assert open_sets([two[0], two[1], packed], size=SIZE).twins() == [("a", "packed")]
    assert open_sets([copy, two[0]], size=SIZE).twins() == [("copy", "a")]
    # The same names alone are no proof.
    other = faces(tmp_path / "c", 50, ann=2, bo=3)
    assert open_sets([two[0], other], size=SIZE).twins() == []


def test_numbers_are_no_names_to_join_by(tmp_path):
    sets = [insightface(tmp_path / f"{name}.rec", [0, 0, 1, 1]) for name in "ab"]
    assert open_sets(sets).identities == ("a/0", "a/1", "b/0", "b/1")
    with pytest.raises(MarginfaceError, match=r"a.rec has numbers for identities, no names"):
        open_sets(sets, join_identities=True)


def test_a_missing_index_is_written_for_the_files_among_them(two, tmp_path):
    packed = pack(two[0], tmp_path / "a.rec", SIZE)
    packed.with_suffix(".idx").unlink()
    assert len(open_sets([packed, two[1]], size=SIZE, rebuild_index=True)) == 8
    with pytest.raises(MarginfaceError, match=r"--rebuild-index is for a .rec alone"):
        open_sets(two, size=SIZE, rebuild_index=True)
