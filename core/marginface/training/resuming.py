"""Checks of a resumed run: steps left to do, and changes of its learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from marginface.errors import MarginfaceError
from marginface.runs.checkpoints import check_checkpoint, read_record
from marginface.runs.folder import RunFolder
from marginface.runs.newest import find_newest
from marginface.runs.stored_arrays import DamagedCheckpointError
from marginface.training.best import stalled, why_stalled
from marginface.training.config.files import COURSE, LENGTH, PLACES, read_config_file
from marginface.training.config.keys import TrainConfig
from marginface.training.progress import Progress, read_progress
from marginface.training.schedules import Schedule


def newest_whole(config: TrainConfig) -> tuple[Path | None, list[Path]]:
    """Return the newest checkpoint that is whole, None without any, and the damaged after it.

    Raises:
        MarginfaceError: all are damaged, the newest is and `refuse_damaged` is set, or it is of
            another version.
    """
    found = find_newest(RunFolder(config.output).checkpoints, _check)
    if found is None:
        return None, []
    if config.refuse_damaged and found.damaged:
        error = next(iter(found.damaged.values()))
        raise DamagedCheckpointError(
            f"{error.found}; delete that folder to use the one before it, or give "
            "--no-refuse-damaged",
            found=error.found,
        )
    return found.path, list(found.damaged)


def _check(path: Path) -> None:
    record = read_record(path)
    read_progress(path, record.step, record.extra)
    _check_once(path, _signature(path))


@lru_cache(maxsize=8)
def _check_once(path: Path, signature: tuple[object, ...]) -> None:
    """Check all files, which are large, once for those who ask for a run's standing."""
    del signature
    check_checkpoint(path)


def _signature(path: Path) -> tuple[object, ...]:
    files = ((each.name, each.stat()) for each in sorted(path.iterdir()))
    return tuple((name, at.st_ino, at.st_size, at.st_mtime_ns) for name, at in files)


@dataclass(frozen=True)
class Standing:
    """State of a run on disk, from its configuration and newest whole checkpoint's record.

    Args:
        recorded: the run's configuration so far.
        step: steps taken, those of its newest whole checkpoint.
        progress: as recorded in that checkpoint.
        steps_per_epoch: 0 without a checkpoint.
    """

    recorded: TrainConfig
    step: int
    progress: Progress
    steps_per_epoch: int

    def finished_by(self, config: TrainConfig) -> bool:
        """Return whether all that `config` asks for is done."""
        if self.stalled_by(config):
            return True
        if not self.step or config.total_steps(self.steps_per_epoch) != self.step:
            return False
        return not config.verifies() or self.progress.verified

    def stalled_by(self, config: TrainConfig) -> bool:
        """Return whether so many verifications found nothing better that the run has ended."""
        same = self.recorded.keep_best == config.keep_best
        return same and stalled(self.progress.best, config.stop_after)


def standing(config: TrainConfig) -> Standing:
    """Return the state of the run in `config.output`: its configuration and last saved step.

    Raises:
        MarginfaceError: its configuration cannot be read; as `newest_whole`.
    """
    run = RunFolder(config.output)
    recorded = TrainConfig(**read_config_file(run.config))
    newest, _ = newest_whole(config)
    if newest is None:
        return Standing(recorded, 0, Progress(), 0)
    record = read_record(newest)
    progress, pipeline = read_progress(newest, record.step, record.extra)
    steps_per_epoch = pipeline["images"] // pipeline["batch_size"]
    return Standing(recorded, record.step, progress, steps_per_epoch)


def check_resumption(config: TrainConfig) -> None:
    """Raise if a resumed run asks for less than is done, or for a change that comes too late.

    Raises:
        MarginfaceError: with what is done, what was asked and what to give instead.
    """
    state = standing(config)
    if not state.steps_per_epoch:
        return
    config.tuning().check_change(state.recorded.tuning(), state.step)
    total = config.total_steps(state.steps_per_epoch)
    if total < state.step:
        asked = " and ".join(f"{name} {value}" for name, value in _length(config))
        keep = ""
        if state.recorded.total_steps(state.steps_per_epoch) >= state.step:
            length = " and ".join(f"{name} {value}" for name, value in _length(state.recorded))
            keep = f", or leave the length out to keep the run's own ({length})"
        raise MarginfaceError(
            f"run {config.output} has taken {state.step} steps already, but {asked} is "
            f"{total} steps; give {_more(state, config)}{keep}"
        )
    if late := _late(state, config):
        raise MarginfaceError(
            f"run {config.output} has {_done(state, config)}, so another {' and '.join(late)} "
            f"would change nothing; give {_more(state, config)} with it, or leave it out"
        )


def finished_run(config: TrainConfig) -> Standing | None:
    """Return the state of a resumed run that has nothing left to do; None if it has."""
    if not RunFolder(config.output).config.is_file():
        return None  # which is refused elsewhere, as is a change that comes too late
    state = standing(config)
    return state if state.finished_by(config) and not _late(state, config) else None


def nothing_left(config: TrainConfig, now: Standing) -> str:
    """Say that a finished run has nothing left to do, and how to go on."""
    done = f"all {now.step} steps of {config.output} are done"
    if now.stalled_by(config):
        done = f"{config.output} has {_done(now, config)}"
    return (
        f"nothing left to do: {done}, its config.yaml stays as it is; to train further give "
        f"{_more(now, config)}"
    )


def new_course(before: Schedule, now: Schedule, step: int) -> str:
    """Describe the learning rate from `step` on if it is no longer as planned; else return "".

    >>> short = Schedule(kind="polynomial", lr=0.1, total_steps=16)
    >>> long = Schedule(kind="polynomial", lr=0.1, total_steps=32)
    >>> print(new_course(short, long, 10))
    learning rate at step 10: 0.0688, was 0.0375; now polynomial, 0.1 to 0 at step 32, was \
polynomial, 0.1 to 0 at step 16
    >>> print(new_course(short, long, 16)[:57])
    learning rate at step 16: 0.05, was 0.00625 at step 15, t
    """
    if before == now:
        return ""
    last = before.total_steps - 1
    was = f"{before(min(step, last)):.3g}"
    if step > last:
        was += f" at step {last}, the last"
    return (
        f"learning rate at step {step}: {now(step):.3g}, was {was}; now {now.describe()}, "
        f"was {before.describe()}"
    )


def changes_course(recorded: TrainConfig, config: TrainConfig) -> bool:
    """Return whether the rate's own keys differ, not only the length of the run."""
    return not set(COURSE).isdisjoint(_changed(recorded, config))


def _late(now: Standing, config: TrainConfig) -> list[str]:
    """Return the changed keys that a finished run has no step left for."""
    if not now.finished_by(config):
        return []
    in_time = (*PLACES, *LENGTH, "stop_after")
    return [name for name in _changed(now.recorded, config) if name not in in_time]


def _changed(recorded: TrainConfig, config: TrainConfig) -> list[str]:
    return [name for name, value in dict(config).items() if value != getattr(recorded, name)]


def _length(config: TrainConfig) -> list[tuple[str, int]]:
    return [(name, getattr(config, name)) for name in LENGTH if getattr(config, name) is not None]


def _done(now: Standing, config: TrainConfig) -> str:
    if now.progress.best is not None and now.stalled_by(config):
        return f"ended at step {now.step}, {why_stalled(now.progress.best)}"
    return f"taken all of its {now.step} steps"


def _more(now: Standing, config: TrainConfig) -> str:
    if now.progress.best is not None and now.stalled_by(config):
        return f"--stop-after {now.progress.best.since + 1} or more"
    epochs = now.step // now.steps_per_epoch + 1
    return f"--max-steps {now.step + 1} or more, or --epochs {epochs} or more"
