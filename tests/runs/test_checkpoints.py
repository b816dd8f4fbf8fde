import json

import numpy as np
import pytest
from runs import save_checkpoint

from marginface.errors import MarginfaceError
from marginface.runs import checkpoint_writer
from marginface.runs.checkpoints import (
    Checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    read_record,
)
from marginface.runs.stored_arrays import damaged


def example(step: int = 3) -> Checkpoint:
    rng = np.random.default_rng(step)
    state = {
        "backbone.conv.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "backbone.transposed": np.arange(6.0).reshape(2, 3).T,  # not contiguous
        "head.weight": rng.normal(size=(5, 4)),
        "optimizer.step": np.array(step, np.int64),  # no dimensions
    }
    return Checkpoint(step, state, {"best": 0.1 + 0.2, "losses": [1 / 3]})


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    saved = example()
    loaded = load_checkpoint(save_checkpoint(tmp_path / "checkpoints", saved))
    assert loaded.step == 3
    assert loaded.extra == saved.extra
    assert list(loaded.state) == sorted(saved.state)
    for name, value in saved.state.items():
        assert loaded.state[name].dtype == value.dtype
        assert loaded.state[name].shape == value.shape
        assert loaded.state[name].tobytes() == value.tobytes()


def test_only_names_with_the_prefix_are_read(tmp_path):
    path = save_checkpoint(tmp_path, example())
    assert sorted(load_checkpoint(path, prefix="backbone.").state) == [
        "backbone.conv.weight",
        "backbone.transposed",
    ]


def test_the_newest_are_kept_in_the_order_of_their_steps(tmp_path):
    for step in (8, 9, 10, 11):
        save_checkpoint(tmp_path, example(step), keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000010", "step-00000011"]
    assert latest_checkpoint(tmp_path) == tmp_path / "step-00000011"


def test_unfinished_folders_are_no_checkpoints(tmp_path):
    assert latest_checkpoint(tmp_path / "missing") is None
    (tmp_path / ".step-00000009.partial").mkdir()
    (tmp_path / "step-notes").mkdir()
    assert latest_checkpoint(tmp_path) is None
    path = save_checkpoint(tmp_path, example(2))
    assert latest_checkpoint(tmp_path) == path


def test_saving_the_same_step_again_replaces_it(tmp_path):
    save_checkpoint(tmp_path, example(2))
    other = Checkpoint(2, {"backbone.other": np.ones(2)}, {})
    assert list(load_checkpoint(save_checkpoint(tmp_path, other)).state) == ["backbone.other"]


@pytest.mark.parametrize("keep", [1, 3])
def test_a_write_that_fails_leaves_the_older_checkpoint_and_no_rest(tmp_path, monkeypatch, keep):
    good = save_checkpoint(tmp_path, example(1), keep=keep)

    def full(path, *_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_writer, "write_arrays", full)
    with pytest.raises(MarginfaceError, match=r"cannot write checkpoint .*step-00000002.*No space"):
        save_checkpoint(tmp_path, example(2), keep=keep)
    assert list(tmp_path.iterdir()) == [good]
    assert load_checkpoint(good).step == 1


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [cut, lambda path: path.write_bytes(b"\x00garbage"), "remove"])
def test_damage_is_named_with_the_way_out(tmp_path, name, damage):
    path = save_checkpoint(tmp_path, example())
    if damage == "remove":
        (path / name).unlink()
    else:
        damage(path / name)
    with pytest.raises(MarginfaceError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert f"checkpoint {path} is damaged" in message
    assert name in message
    assert "give the run's folder for its newest whole one" in message
    assert "\n" not in message


def test_one_changed_bit_is_found(tmp_path):
    path = save_checkpoint(tmp_path, example())
    flip(path / "state.safetensors")
    with pytest.raises(MarginfaceError, match="cut short or changed"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        *[{"step": step} for step in (float("inf"), 7.9, True, -5, 10**30, "3", None)],
        *[{"format": value} for value in (True, "\x1b[31m" + "x" * 10_000, 10**30, [1], None, 2)],
        {"crc32": "0"},
        {"shards": 5},
        {"extra": None},
        {"extra": [["best", 1]]},
    ],
)
def test_a_record_of_other_values_is_damaged(tmp_path, change):
    path = save_checkpoint(tmp_path, example())
    record = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(record | change))
    with pytest.raises(MarginfaceError) as caught:
        read_record(path)
    assert str(caught.value) == (
        f"checkpoint {path} is damaged (state.json is not what was written); "
        "give the run's folder for its newest whole one"
    )


@pytest.mark.parametrize("text", ["[" * 200_000, '{"step":' * 100_000, "[]", "3", "", "9" * 9999])
def test_a_record_of_another_form_is_damaged(tmp_path, text):
    path = save_checkpoint(tmp_path, example())
    (path / "state.json").write_text(text)
    with pytest.raises(MarginfaceError, match=r"damaged \(state.json is not what was written\)"):
        read_record(path)


def test_a_record_of_another_step_than_its_folder_is_damaged(tmp_path):
    path = save_checkpoint(tmp_path, example())
    other = path.rename(tmp_path / "step-00000004")
    with pytest.raises(MarginfaceError, match=r"damaged \(state.json is of step 3\)"):
        read_record(other)
    assert read_record(other.rename(tmp_path / "kept")).step == 3


def test_what_a_file_says_is_cut_in_the_message(tmp_path):
    message = str(damaged(tmp_path, "\x1b[31m" + "x" * 10_000))
    assert "(\\x1b[31mxxx" in message
    assert len(message) < len(str(tmp_path)) + 300


def test_another_format_asks_for_another_version(tmp_path):
    path = save_checkpoint(tmp_path, example())
    record = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**record, "format": 9}))
    with pytest.raises(MarginfaceError, match="has format 9, this version reads 1"):
        load_checkpoint(path)
