"""The files that a run starts with, and their end where its start fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from marginface.errors import MarginfaceError, TrainingDivergedError
from marginface.runs.checkpoints import list_checkpoints, set_aside
from marginface.runs.chosen import read_step
from marginface.runs.folder import STARTS, write_text
from marginface.runs.metrics import cut_back
from marginface.text import printable
from marginface.training.config.files import config_text
from marginface.training.environment import environment
from marginface.training.preparation import Training
from marginface.training.processes.groups import together


@contextmanager
def undoing_start(training: Training, *, resume: bool, overwrite: bool = False) -> Iterator[None]:
    """Remove the files of a new run that fails before a checkpoint of what it has learned.

    On a full disk no half run stays, the same command may be given again, and a run that was to be
    replaced is back. One that diverged stays: its error says how to go on in its folder.
    """
    try:
        yield
    except TrainingDivergedError:
        raise
    except (MarginfaceError, OSError):
        run = training.run
        learned = any(map(read_step, list_checkpoints(run.checkpoints)))
        if training.group.rank == 0 and not resume and not learned:
            with suppress(OSError):  # that of the disk is the one to tell
                run.remove_start()
                if overwrite:
                    run.put_back()
        raise


def record_start(training: Training, *, resume: bool, overwrite: bool = False) -> None:
    """Create the run folder, or bring a resumed one back to its checkpoint; process 0 does it."""
    with together(training.group):
        if training.group.rank == 0:
            if overwrite:
                training.run.set_aside()
            _record(training, resume=resume)


def _record(training: Training, *, resume: bool) -> None:
    run, progress = training.run, training.progress
    run.path.mkdir(parents=True, exist_ok=True)
    run.remove_leftovers()
    for path in training.damaged:
        set_aside(path)
    starts = run.read_starts() if resume else []
    if resume:
        cut_back(run.metrics, progress.step, verified=progress.verified)
    left_out = {each.name: each.left_out for each in training.verification if each.left_out}
    starts.append(
        environment(
            training.backend.version(),
            training.learner.device_name,
            first_step=progress.step,
            processes=training.group.size,
        )
        | {"schedule": asdict(training.schedule)}
        | ({"left_out": left_out} if left_out else {})
        | ({"start": list(training.start)} if training.start else {})
    )
    model = training.config.model_spec().to_json()
    for path, text in (
        (run.environment, json.dumps({STARTS: starts}, indent=1) + "\n"),
        (run.identities, "".join(f"{printable(name)}\n" for name in training.images.identities)),
        (run.model, json.dumps(model, indent=1) + "\n"),
        (run.config, config_text(training.config)),  # the last: it makes the folder a run
    ):
        write_text(path, text)
