"""Runs go on behind a damaged checkpoint; a start that fails and a kill leave nothing behind."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from rich.console import Console
from runs import QUIET, STEPS, final_state, record, resumed, stop_at

from marginface.errors import MarginfaceError
from marginface.runs import checkpoint_writer
from marginface.runs.checkpoints import list_checkpoints
from marginface.training import recording, trackers, trainer
from marginface.training.event_file import EventFile
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")
STOPPED = 12
NEWEST = f"step-{STOPPED:08d}"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def turn(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another_step(path: Path) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"step": 3}))


ARRAYS, REST = "state.safetensors", "state.json"
DAMAGE = {
    "arrays cut short": (ARRAYS, cut),
    "a byte of the arrays turned": (ARRAYS, turn),
    "arrays empty": (ARRAYS, empty),
    "arrays missing": (ARRAYS, Path.unlink),
    "record cut short": (REST, cut),
    "record empty": (REST, empty),
    "record missing": (REST, Path.unlink),
    "record of another step": (REST, another_step),
    "record nested deeply": (REST, lambda path: path.write_text("[" * 200_000)),
    "nothing in it": (".", lambda path: (shutil.rmtree(path), path.mkdir())),
    "a file in its place": (".", lambda path: (shutil.rmtree(path), path.write_bytes(b""))),
    "a pipe for the record": (REST, lambda path: (path.unlink(), os.mkfifo(path))),
}


@pytest.fixture
def stopped(make, fake_backend):
    """A run with checkpoints of steps 5, 10 and 12, the last of which a test damages."""
    config = make("stopped", checkpoint_every=5)
    fake_backend.prepare = stop_at(STOPPED, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    return config


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_run_goes_on_from_the_checkpoint_before(make, stopped, kind):
    checkpoints = stopped.output / "checkpoints"
    name, damage = DAMAGE[kind]
    damage(checkpoints / NEWEST / name)
    with pytest.raises(MarginfaceError, match=f"{NEWEST} is damaged .*delete that folder"):
        train(resumed(stopped, refuse_damaged=True), resume=True, console=QUIET)
    assert (checkpoints / NEWEST).exists()

    said = io.StringIO()
    train(resumed(stopped, keep_checkpoints=2), resume=True, console=Console(file=said, width=999))
    assert f"{NEWEST} is damaged: going on from step-00000010, the one before" in said.getvalue()
    assert (checkpoints / f"damaged-{NEWEST}").exists()
    assert [each.name for each in list_checkpoints(checkpoints)] == [
        "step-00000020",
        f"step-{STEPS:08d}",
    ]
    whole = make("whole", checkpoint_every=5)
    train(whole, console=QUIET)
    assert final_state(stopped.output) == final_state(whole.output)
    assert record(stopped.output) == record(whole.output)


def test_of_several_damaged_ones_all_are_passed_over(stopped):
    checkpoints = stopped.output / "checkpoints"
    for name in (NEWEST, "step-00000010"):
        turn(checkpoints / name / ARRAYS)
    assert train(resumed(stopped), resume=True, console=QUIET).step == STEPS
    assert len(list(checkpoints.glob("damaged-*"))) == 2


def test_a_run_without_a_whole_checkpoint_is_refused_by_the_newest(stopped):
    for path in list_checkpoints(stopped.output / "checkpoints"):
        cut(path / ARRAYS)
    advice = r"and so are the 2 before it; restore one from a copy, or train again: `marginface"
    with pytest.raises(MarginfaceError, match=f"{NEWEST} is damaged .*, {advice}"):
        train(resumed(stopped), resume=True, console=QUIET)
    assert not list(stopped.output.glob("checkpoints/damaged-*"))


@pytest.mark.parametrize("followed", ["the folder goes", "no_refuse_damaged"])
def test_a_run_that_refuses_goes_on_when_told_to(make, fake_backend, followed):
    config = make(checkpoint_every=5, refuse_damaged=True)
    fake_backend.prepare = stop_at(STOPPED, signal.SIGINT)
    train(config, console=QUIET)
    fake_backend.prepare = lambda _: None
    newest = config.output / "checkpoints" / NEWEST
    turn(newest / ARRAYS)
    advice = "delete that folder to use the one before it, or give --no-refuse-damaged"
    with pytest.raises(MarginfaceError, match=advice):
        train(resumed(config), resume=True, console=QUIET)
    given = {"refuse_damaged": False}
    if followed == "the folder goes":
        shutil.rmtree(newest)
        given = {}
    assert train(resumed(config, **given), resume=True, console=QUIET).step == STEPS


def test_a_finished_run_with_a_damaged_end_is_finished_again(make):
    config = make(checkpoint_every=5)
    train(config, console=QUIET)
    before = final_state(config.output)
    turn(config.output / f"checkpoints/step-{STEPS:08d}" / ARRAYS)
    train(resumed(config), resume=True, console=QUIET)
    assert final_state(config.output) == before


FILES = ["environment.json", "identities.txt", "model.json", "config.yaml"]


@pytest.mark.parametrize("full_at", [*FILES, "events"])
def test_a_start_on_a_full_disk_leaves_nothing(make, monkeypatch, full_at):
    full = OSError(errno.ENOSPC, "No space left on device")
    write, config = recording.write_text, make()

    def write_text(path, text):
        if path.name == full_at:
            raise full
        write(path, text)

    def tracker(run, **_):
        run.metrics.touch()
        run.tensorboard.mkdir()
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(recording, "write_text", write_text)
        if full_at == "events":
            patch.setattr(trainer, "Tracker", tracker)
        with pytest.raises(OSError, match="No space left"):
            train(config, console=QUIET)
    assert not config.output.exists()
    assert train(config, console=QUIET).step == STEPS


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


FULL_AT = {
    "checkpoint": (checkpoint_writer, "write_arrays", "give the same command again"),
    "its record": (checkpoint_writer, "_sync", "give the same command again"),
    "a line of metrics": (trackers.Tracker, "train", "No space left"),
    "an event": (EventFile, "scalars", "No space left"),
}


@pytest.mark.parametrize("kind", FULL_AT)
def test_a_disk_that_fills_before_the_first_checkpoint_leaves_nothing(make, monkeypatch, kind):
    config = make()
    owner, name, told = FULL_AT[kind]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises((MarginfaceError, OSError), match=told):
            train(config, console=QUIET)
    assert not config.output.exists()
    assert train(config, console=QUIET).step == STEPS


def test_a_disk_that_fills_behind_the_first_checkpoint_leaves_the_run(make, monkeypatch):
    config, write = make(checkpoint_every=5), checkpoint_writer.write_arrays

    def fills(path, *given):
        if list_checkpoints(config.output / "checkpoints"):
            full()
        return write(path, *given)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_writer, "write_arrays", fills)
        with pytest.raises(MarginfaceError, match=r"older ones are untouched: .* then --resume"):
            train(config, console=QUIET)
    assert train(resumed(config), resume=True, console=QUIET).step == STEPS


def test_events_are_on_the_disk_from_the_start(tmp_path):
    events = EventFile(tmp_path)  # so that a full disk is found before the first step
    assert [each.stat().st_size > 0 for each in tmp_path.iterdir()] == [True]
    events.close()


def test_what_a_kill_left_is_swept_at_the_next_start(stopped):
    left = [f".{name}.0123abcd.tmp" for name in (*FILES, "metrics.jsonl")]
    for name in (*left, ".notes.tmp", "mine.tmp"):
        (stopped.output / name).write_text("x")
    train(resumed(stopped), resume=True, console=QUIET)
    assert {each.name for each in stopped.output.glob("*tmp")} == {".notes.tmp", "mine.tmp"}
