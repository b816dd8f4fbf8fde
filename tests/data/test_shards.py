"""Sets in several .tfrecord files: any of them stands for all."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from record_files import png

from marginface.data.formats.example import ImageExample, pack_example
from marginface.data.formats.sharded import ShardedRecords
from marginface.data.formats.shards import shard_paths
from marginface.data.formats.tfrecord import frame
from marginface.data.listing import open_set
from marginface.data.opening import open_by_name, open_images, open_listed, open_sets
from marginface.data.packing.encoding import Encoding
from marginface.data.packing.training_sets import pack
from marginface.embeddings.store import _files
from marginface.errors import MarginfaceError

PEOPLE = ("ann", "bo", "cy")


def records(*shades: int) -> bytes:
    """Return records of images, each of a shade, of the person of that number modulo three."""
    return b"".join(
        frame(
            pack_example(
                ImageExample(
                    png(shade), shade % 3, PEOPLE[shade % 3], f"{PEOPLE[shade % 3]}/{shade}.png"
                )
            )
        )
        for shade in shades
    )


def write(folder: Path, name: str, *contents: bytes) -> list[Path]:
    """Write shards; {} in the name is where their numbers are."""
    paths = [
        folder / name.format(f"-{number:05d}-of-{len(contents):05d}")
        for number in range(len(contents))
    ]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


NAMES = ["s.tfrecord{}", "s{}.tfrecord", "s.v1.tfrecord{}", "S{}.TFRECORDS"]


@pytest.mark.parametrize("name", NAMES)
def test_any_shard_is_the_whole_set(tmp_path: Path, name: str) -> None:
    paths = write(tmp_path, name, records(0, 1), records(2), records(3, 4, 5, 6))
    whole = tmp_path / "whole.tfrecord"
    whole.write_bytes(b"".join(path.read_bytes() for path in paths))
    expected = open_listed(whole)
    for path in paths:
        found = open_listed(path)
        assert len(found) == 7
        assert found.identities == PEOPLE
        assert found.labels.tolist() == expected.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
        assert [found.name(k) for k in range(7)] == [expected.name(k) for k in range(7)]
        assert [found.encoded(k) for k in range(7)] == [png(shade) for shade in range(7)]
        assert found.fingerprint() == expected.fingerprint()
        assert pickle.loads(pickle.dumps(found)).encoded(6) == png(6)
        assert len(open_set(path)) == len(open_by_name(path)[1]) == 7


def test_shards_may_be_empty_and_count_from_1(tmp_path: Path) -> None:
    paths = write(tmp_path, "s.tfrecord{}", records(0, 1), b"", records(2))
    assert [len(open_listed(path)) for path in paths] == [3, 3, 3]
    for number, content in ((1, records(0)), (2, records(1, 2))):
        (tmp_path / f"t.tfrecord-{number}-of-2").write_bytes(content)
    assert len(open_listed(tmp_path / "t.tfrecord-2-of-2")) == 3


def test_more_shards_than_files_that_a_process_may_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    paths = write(tmp_path, "s.tfrecord{}", *(records(shade) for shade in range(250)))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 200), hard))
    try:
        found = open_listed(paths[7])
        assert [found.encoded(k) for k in range(0, 250, 50)] == [png(k) for k in range(0, 250, 50)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_sets_beside_each_other_stay_two(tmp_path: Path) -> None:
    two = write(tmp_path, "s.tfrecord{}", records(0), records(1))
    three = write(tmp_path, "s.tfrecord{}", records(2), records(3), records(4))
    other = write(tmp_path, "t.tfrecord{}", records(5), records(6))
    assert [len(open_listed(paths[0])) for paths in (two, three, other)] == [2, 3, 2]
    plain = tmp_path / "s.tfrecord"
    plain.write_bytes(records(7, 8))
    assert len(open_listed(plain)) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_shard_is_named(tmp_path: Path, name: str) -> None:
    paths = write(tmp_path, name, records(0), records(1), records(2))
    paths[1].unlink()
    for path in (paths[0], paths[2]):
        with pytest.raises(MarginfaceError) as caught:
            open_listed(path)
        assert f"2 of 3 are there: {paths[1].name} missing; restore" in str(caught.value)
    alone = tmp_path / "alone.tfrecord"  # as the advice says
    paths[0].rename(alone)
    assert len(open_listed(alone)) == 1


def test_one_of_many_names_the_first_missing_only(tmp_path: Path) -> None:
    path = tmp_path / "s.tfrecord-00007-of-01000"
    path.write_bytes(records(0))
    with pytest.raises(MarginfaceError, match=r"1 of 1000 are there: .*-00000-.*, \.\.\. missing"):
        open_listed(path)


def test_a_number_that_no_shard_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.tfrecord-00005-of-00002"
    path.write_bytes(records(0))
    with pytest.raises(MarginfaceError, match="calls itself number 5 of 2 shards"):
        open_listed(path)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    paths = write(tmp_path, "s.tfrecord{}", records(0), records(1, 2))
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:-5])
    with pytest.raises(MarginfaceError, match=r"-00001-of-00002: cannot read the record at byte"):
        open_listed(paths[0])
    paths[1].unlink()
    paths[1].mkdir()
    with pytest.raises(MarginfaceError, match=r"cannot read .*-00001-of-00002"):
        open_listed(paths[0])


def test_the_kept_index_is_of_all_shards(tmp_path: Path) -> None:
    paths = write(tmp_path, "s.tfrecord{}", records(0, 1), records(2))
    open_listed(paths[1])
    index = tmp_path / f"{paths[0].name}.index"
    kept = index.stat().st_mtime_ns
    assert len(open_listed(paths[0])) == 3
    assert index.stat().st_mtime_ns == kept
    paths[1].write_bytes(records(2, 3, 4))
    found = open_listed(paths[0])
    assert [found.encoded(k) for k in range(5)] == [png(shade) for shade in range(5)]


def test_no_byte_outside_the_files_is_read(tmp_path: Path) -> None:
    found = open_listed(write(tmp_path, "s.tfrecord{}", records(0), records(1))[0])
    for offset in (-1, 10**6):
        with pytest.raises(MarginfaceError, match="no record begins at byte"):
            found.records.image(offset)


def test_two_shards_of_one_set_are_given_twice(tmp_path: Path) -> None:
    for name in NAMES[:2]:
        paths = write(tmp_path, name, records(0, 1), records(2))
        with pytest.raises(MarginfaceError, match="given twice"):
            open_sets(paths)


def test_shards_are_trained_on_and_packed_like_one_file(tmp_path: Path) -> None:
    paths = write(tmp_path, "s.tfrecord{}", records(0, 1, 2), records(3, 4, 5))
    images = open_images(paths[1], size=(2, 2), resize=True)
    assert images[5][1] == 2
    made = pack(open_set(paths[1]), tmp_path / "packed.rec", encoding=Encoding())
    assert (made.images, made.identities) == (6, 3)


def test_other_names_are_files_of_their_own(tmp_path: Path) -> None:
    for name in ("a-1-of-2.rec", "s.tfrecord", "s.tfrecord-00000", "x-of-y.tfrecord"):
        (tmp_path / name).write_bytes(b"")
        assert shard_paths(tmp_path / name) == [tmp_path / name]
    assert shard_paths(tmp_path / "s.tfrecord-0-of-9") == [tmp_path / "s.tfrecord-0-of-9"]  # absent


def test_parts_of_a_rec_are_warned_of(tmp_path: Path) -> None:
    pack(open_set(write(tmp_path, "s{}.tfrecord", records(0, 1))[0]), tmp_path / "p.rec")
    for ending in (".rec", ".idx", ".lst"):
        (tmp_path / f"p{ending}").rename(tmp_path / f"p-0-of-2{ending}")
    with pytest.warns(UserWarning, match=r"p-0-of-2\.rec calls itself 0 of 2; only \.tfrecord"):
        assert len(open_listed(tmp_path / "p-0-of-2.rec")) == 2


def test_a_shard_that_changes_is_read_anew(tmp_path: Path, monkeypatch) -> None:
    paths = write(tmp_path, "s.tfrecord{}", records(0, 1), records(2, 3))
    monkeypatch.setattr("marginface.data.packing.training_sets.CHUNK", 1)
    images = open_set(paths[0])

    read, image = [], ShardedRecords.image

    def stop(self, offset: int) -> bytes:
        read.append(offset)
        if len(read) == 4:
            raise KeyboardInterrupt
        return image(self, offset)

    with monkeypatch.context() as patched:
        patched.setattr(ShardedRecords, "image", stop)
        with pytest.raises(KeyboardInterrupt):
            pack(images, tmp_path / "out.tfrecord")
    assert (tmp_path / ".out.tfrecord.partial").is_dir()
    changed = ImageExample(png(99), 0, "ann", "ann/3.png")  # another picture of the same name
    paths[1].write_bytes(records(2) + frame(pack_example(changed)))
    images = open_set(paths[0])
    pack(images, tmp_path / "out.tfrecord")
    made = open_listed(tmp_path / "out.tfrecord")
    found = sorted(made.encoded(index) for index in range(len(made)))
    assert found == sorted(map(png, (0, 1, 2, 99)))


def test_parts_of_embeddings_are_of_all_shards(tmp_path: Path) -> None:
    paths = write(tmp_path, "s.tfrecord{}", records(0), records(1))
    before = _files(open_by_name(paths[0])[0], [])
    assert _files(open_by_name(paths[1])[0], []) == before
    paths[1].write_bytes(records(1, 2))
    assert _files(open_by_name(paths[0])[0], []) != before
