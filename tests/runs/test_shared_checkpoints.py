"""Checkpoints of which each process writes its own rows."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from runs import Still, on_processes, save_checkpoint
from safetensors.numpy import load_file

from marginface.errors import AgreedError, MarginfaceError
from marginface.heads import Shard
from marginface.runs import checkpoint_writer
from marginface.runs.checkpoints import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    open_checkpoint,
)
from marginface.runs.stored_arrays import StoredFile
from marginface.training.saving import one_folder
from marginface.training.saving import save_checkpoint as save

CLASSES = 7
SHARED = ("head.weight", "head.bias", "optimizer.momentum.head.weight")
EXTRA = {"best": 0.5}


def values(step: int = 3):
    rng = np.random.default_rng(step)
    return {
        "backbone.conv.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "head.bias": rng.normal(size=CLASSES),
        "head.state.mean": np.array(0.25),
        "head.weight": rng.normal(size=(CLASSES, 4)).astype(np.float32),
        "optimizer.momentum.head.weight": rng.normal(size=(CLASSES, 4)).astype(np.float32),
        "optimizer.step": np.array(step, np.int64),
    }


def rows(size: int):
    ranges = [Shard(rank, size).classes(CLASSES) for rank in range(size)]
    return dict.fromkeys(SHARED, ranges) if size > 1 else {}


def save_on(fake_backend, size, folder, *, step=3, shared=True, keep=3):
    """Save on so many processes; return what each returned or raised."""

    def process(rank):
        learner = Still(values(step), rows(size), rank)
        group = fake_backend.local.group
        return save(group, learner, folder, step, EXTRA, shared=shared, keep=keep)

    return on_processes(fake_backend, size, process)


def assert_same(found, expected):
    assert list(found) == sorted(expected)
    for name, value in expected.items():
        array = np.asarray(found[name])
        assert (array.dtype, array.shape) == (value.dtype, value.shape)
        assert array.tobytes() == value.tobytes()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_any_number_writes_what_any_number_reads(fake_backend, tmp_path, size):
    path = tmp_path / "step-00000003"
    assert save_on(fake_backend, size, tmp_path) == [path] * size
    shards = [f"head-{rank}-of-{size}.safetensors" for rank in range(size)] if size > 1 else []
    assert sorted(p.name for p in path.iterdir()) == [*shards, "state.json", "state.safetensors"]
    record = json.loads((path / "state.json").read_text())
    assert record["format"] == (2 if shards else 1)
    for each in record.get("shards", []):
        assert zlib.crc32((path / each["file"]).read_bytes()) == each["crc32"]
        for name, array in load_file(path / each["file"]).items():
            assert (array == values()[name][slice(*each["rows"][name])]).all()

    checkpoint = load_checkpoint(path)
    assert (checkpoint.step, checkpoint.extra) == (3, EXTRA)
    assert_same(checkpoint.state, values())
    stored = open_checkpoint(path).state
    for readers in (1, 2, 3, 7):
        for name in SHARED:
            for own in rows(readers).get(name, [range(CLASSES)]):
                part = slice(own.start, own.stop)
                assert (stored[name][part] == values()[name][part]).all()


def test_one_process_writes_the_file_that_it_always_wrote(fake_backend, tmp_path):
    save_on(fake_backend, 1, tmp_path)
    path = tmp_path / "step-00000003"
    record = json.loads((path / "state.json").read_text())
    assert list(record) == ["format", "step", "crc32", "extra"]
    assert sorted(load_file(path / "state.safetensors")) == sorted(values())


def test_where_no_folder_is_shared_process_0_writes_all(fake_backend, tmp_path):
    save_on(fake_backend, 1, tmp_path / "alone")
    save_on(fake_backend, 3, tmp_path / "several", shared=False)
    for name in ("state.json", "state.safetensors"):
        alone, several = (tmp_path / run / "step-00000003" / name for run in ("alone", "several"))
        assert alone.read_bytes() == several.read_bytes()


def test_a_process_reads_its_own_rows_from_the_files_that_have_them(
    fake_backend, tmp_path, monkeypatch
):
    save_on(fake_backend, 3, tmp_path)  # rows 0-2, 3-4, 5-6
    read = []
    check = StoredFile.check

    def recorded(file):
        read.append(file.path.name)
        check(file)

    monkeypatch.setattr(StoredFile, "check", recorded)
    stored = open_checkpoint(tmp_path / "step-00000003").state["head.weight"]
    assert read == ["state.safetensors"]
    assert stored[3:5].shape == (2, 4)
    assert set(read) == {"state.safetensors", "head-1-of-3.safetensors"}
    assert stored[4:7].shape == (3, 4)
    assert "head-0-of-3.safetensors" not in read
    assert stored[2:2].shape == (0, 4)


def cut(path: Path):
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_or_missing_shard_is_named(fake_backend, tmp_path, damage):
    save_on(fake_backend, 2, tmp_path)
    path = tmp_path / "step-00000003"
    damage(path / "head-1-of-2.safetensors")
    with pytest.raises(MarginfaceError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert f"checkpoint {path} is damaged (head-1-of-2.safetensors" in message
    assert "give the run's folder for its newest whole one" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../head-1-of-2.safetensors"}, "state.json is not what was written"),
        ({"file": "/etc/passwd"}, "state.json is not what was written"),
        ({"file": 3}, "state.json is not what was written"),
        ({"rows": {"head.weight": [4]}}, "state.json is not what was written"),
        ({"rows": {"head.weight": [5, 4]}}, "state.json is not what was written"),
        ({"rows": {"head.weight": [4, 10**30]}}, "state.json is not what was written"),
        ({"rows": {"head.weight": [4, 4]}}, "head-1-of-2.safetensors does not have 0 rows of head"),
        ({"rows": {"head.weight": [5, 8]}}, "rows of head.weight from 4 on are missing before he"),
        ({"rows": {"head.weight": [4, 10**12]}}, "head-1-of-2.safetensors does not have 99999"),
        ({"file": "head-0-of-2.safetensors"}, "state.json is not what was written"),
        ({"file": "head-1-of-3.safetensors"}, "state.json is not what was written"),
        ({"crc32": True}, "state.json is not what was written"),
        ({"crc32": -1}, "state.json is not what was written"),
        ({"rows": {"head.weight": "47"}}, "state.json is not what was written"),
        ({"rows": {"head.weight": {"4": 1, "7": 2}}}, "state.json is not what was written"),
        ({"rows": {"head.weight": [4, float("inf")]}}, "state.json is not what was written"),
        ({"rows": {"head.weight": [4.0, 7]}}, "state.json is not what was written"),
        ({"rows": {"head.weight": [4, True]}}, "state.json is not what was written"),
        ({"rows": {"head.other": [4, 7]}}, "state.json is not what was written"),
    ],
)
def test_a_record_that_does_not_fit_its_files_is_refused(fake_backend, tmp_path, change, message):
    save_on(fake_backend, 2, tmp_path)
    path = tmp_path / "step-00000003"
    record = json.loads((path / "state.json").read_text())
    rows = record["shards"][1]["rows"] | change.get("rows", {})
    record["shards"][1] |= change | {"rows": rows}
    (path / "state.json").write_text(json.dumps(record))
    with pytest.raises(MarginfaceError, match="is damaged") as caught:
        load_checkpoint(path)
    assert message in str(caught.value)


def test_rows_are_checked_in_the_files_that_have_them(fake_backend, tmp_path):
    save_on(fake_backend, 2, tmp_path)  # rows 0-3, 4-6
    flip(tmp_path / "step-00000003" / "head-0-of-2.safetensors")
    stored = open_checkpoint(tmp_path / "step-00000003").state
    stored["head.weight"].check(slice(4, 7))
    stored["optimizer.step"].check(slice(None))
    for rows in (slice(None), slice(3, 7)):
        with pytest.raises(MarginfaceError, match=r"head-0-of-2\S+ is cut short or changed"):
            stored["head.weight"].check(rows)


@pytest.mark.parametrize("left", [[], [0], [1], [1, 0], [0, 1, 1], None])
def test_a_list_without_one_of_the_files_is_damage(fake_backend, tmp_path, left):
    save_on(fake_backend, 2, tmp_path)
    path = tmp_path / "step-00000003"
    record = json.loads((path / "state.json").read_text())
    shards = record.pop("shards")
    if left is not None:
        record["shards"] = [shards[rank] for rank in left]
    (path / "state.json").write_text(json.dumps(record))
    with pytest.raises(MarginfaceError) as caught:
        open_checkpoint(path)
    assert f"checkpoint {path} is damaged (state.json is not what was written)" in str(caught.value)


def test_a_backbone_is_read_where_files_of_the_head_are_missing(fake_backend, tmp_path):
    save_on(fake_backend, 2, tmp_path)
    path = tmp_path / "step-00000003"
    (path / "head-0-of-2.safetensors").unlink()
    (path / "head-1-of-2.safetensors").write_bytes(b"cut")
    found = load_checkpoint(path, prefix="backbone.").state
    assert_same(found, {n: v for n, v in values().items() if n.startswith("backbone.")})
    with pytest.raises(MarginfaceError, match=r"damaged \(head-0-of-2.safetensors: No such file"):
        load_checkpoint(path, prefix="head.weight")


@pytest.mark.parametrize(("shared", "culprit"), [(True, 1), (True, 0), (False, 0)])
def test_what_fails_on_one_leaves_the_older_checkpoint_and_no_rest(
    fake_backend, tmp_path, monkeypatch, shared, culprit
):
    older = save_on(fake_backend, 2, tmp_path, step=1)[0]
    write = checkpoint_writer.write_arrays

    def full(path, *given):
        if fake_backend.local.group.rank == culprit:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return write(path, *given)

    monkeypatch.setattr(checkpoint_writer, "write_arrays", full)
    ends = save_on(fake_backend, 2, tmp_path, shared=shared, keep=1)
    assert [type(end) for end in ends] == [AgreedError] * 2
    for end in ends:
        assert f"process {culprit} of 2: cannot write checkpoint {tmp_path}/step-000000" in str(end)
        assert "No space left on device; older ones are untouched" in str(end)
    assert list(tmp_path.iterdir()) == [older]
    assert_same(load_checkpoint(older).state, values(1))


def test_what_a_killed_run_left_half_written_goes_with_the_next(tmp_path):
    (tmp_path / ".step-00000002.partial").mkdir()
    (tmp_path / ".step-00000002.partial" / "head-0-of-2.safetensors").write_bytes(b"half")
    save_checkpoint(tmp_path, Checkpoint(3, values(), {}))
    assert list(tmp_path.iterdir()) == list_checkpoints(tmp_path)


@pytest.mark.parametrize(
    ("folders", "found"), [("aa", True), ("aaa", True), ("ab", False), ("aab", False), ("a", True)]
)
def test_whether_all_see_one_folder_is_found_out(fake_backend, tmp_path, folders, found):
    for name in set(folders):
        (tmp_path / name).mkdir()
    ends = on_processes(
        fake_backend,
        len(folders),
        lambda rank: one_folder(fake_backend.local.group, tmp_path / folders[rank]),
    )
    assert ends == [found] * len(folders)
    assert [list(path.iterdir()) for path in tmp_path.iterdir()] == [[]] * len(set(folders))


def test_a_folder_that_only_process_0_sees_is_no_shared_one(fake_backend, tmp_path):
    (tmp_path / "there").mkdir()
    names = ("there", "not there")
    ends = on_processes(
        fake_backend, 2, lambda rank: one_folder(fake_backend.local.group, tmp_path / names[rank])
    )
    assert ends == [False, False]
