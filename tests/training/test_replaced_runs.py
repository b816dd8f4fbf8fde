"""A run that is replaced stays until its successor has a checkpoint."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from runs import QUIET, STEPS

from marginface.errors import MarginfaceError, TrainingDivergedError
from marginface.runs import checkpoint_writer
from marginface.runs.folder import RunFolder
from marginface.training import recording, trainer
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (checkpoint_writer, "write_arrays"),
        (recording, "write_text"),
        (trainer, "Tracker"),
        (trainer.Tracker, "train"),
    ],
)
def test_it_is_put_back_where_the_new_one_fails(make, monkeypatch, owner, name) -> None:
    config = make()
    train(config, console=QUIET)
    before = contents(config.output)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises((MarginfaceError, OSError)):
            train(config, overwrite=True, console=QUIET)
    assert contents(config.output) == before
    assert not RunFolder(config.output).replaced.exists()
    assert train(config, overwrite=True, console=QUIET).step == STEPS
    assert not RunFolder(config.output).replaced.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, TrainingDivergedError("NaN")])
def test_it_waits_beside_a_new_one_that_was_killed_or_diverged(make, monkeypatch, error) -> None:
    config = make()
    train(config, console=QUIET)
    before, replaced = contents(config.output), RunFolder(config.output).replaced

    def stop(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_draw", stop)
        with pytest.raises((KeyboardInterrupt, TrainingDivergedError)):
            train(config, overwrite=True, console=QUIET)
    assert contents(replaced) == before
    with pytest.raises(MarginfaceError, match=r"run.*\.replaced holds the run that an earlier"):
        train(config, overwrite=True, console=QUIET)


def test_it_goes_with_the_first_checkpoint(make, monkeypatch) -> None:
    config = make(checkpoint_every=5)
    train(config, console=QUIET)
    replaced, waits, save = RunFolder(config.output).replaced, [], trainer.save_checkpoint

    def saved(*given, **more):
        waits.append(replaced.exists())
        return save(*given, **more)

    monkeypatch.setattr(trainer, "save_checkpoint", saved)
    train(config, overwrite=True, console=QUIET)
    assert waits[0]
    assert not any(waits[1:])
    assert len(waits) > 1


def test_a_folder_of_that_name_stays_where_nothing_is_replaced(make, monkeypatch) -> None:
    config = make()
    other = RunFolder(config.output).replaced
    other.mkdir(parents=True)
    (other / "config.yaml").write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_writer, "write_arrays", full)
        with pytest.raises(MarginfaceError):
            train(config, console=QUIET)
    assert contents(other) == {"config.yaml": b"mine"}
    assert not config.output.exists()
