"""Everything that a training loop needs, built and checked before anything is created."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from marginface.backbones import Graph
from marginface.backend import Backend, installed_backends, load_backend
from marginface.data.image_batches import ImageReader
from marginface.data.pipeline import TrainingPipeline
from marginface.data.sources import LabelledImages
from marginface.data.verification.leaving_out import left_out_line
from marginface.data.verification.opening import open_all
from marginface.data.verification.pairs import Pairs
from marginface.errors import AgreedError, MarginfaceError, MissingPackageError
from marginface.evaluation.evaluate import distinct_images
from marginface.evaluation.verification import require_folds
from marginface.learner import Group, Learner, check_fits
from marginface.losses import MarginLoss
from marginface.runs.checkpoints import Checkpoint, aside, open_checkpoint
from marginface.runs.folder import RunFolder
from marginface.terminal import say
from marginface.training.best import metric_of
from marginface.training.config.files import LOCAL
from marginface.training.config.keys import TrainConfig
from marginface.training.first_heads import load_centers
from marginface.training.output import check_output
from marginface.training.processes.groups import ALONE, require_same, this_process, together
from marginface.training.progress import Progress, read_progress
from marginface.training.resuming import (
    changes_course,
    check_resumption,
    new_course,
    newest_whole,
    standing,
)
from marginface.training.schedules import Schedule
from marginface.training.starting import Start, read_start
from marginface.training.training_images import check_identities, few_images, open_images


@dataclass
class Training:
    """A run, ready to go on."""

    config: TrainConfig
    run: RunFolder
    group: Group
    backend: Backend
    loss: MarginLoss
    graph: Graph
    learner: Learner
    images: LabelledImages
    pipeline: TrainingPipeline
    verification: list[Pairs]
    metric: str | None  # by which the best checkpoint is kept: SET:METRIC
    schedule: Schedule
    progress: Progress
    checkpoint: Path | None  # the one that it goes on from
    damaged: list[Path]  # later ones, which cannot be read
    start: tuple[str, ...]  # what its first weights are, if they are not random
    course: str  # how the learning rate departs from the plan; "" if not

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings of images as they are, before the crop."""
        return self.learner.embed(self.config.model_spec().preprocessing.cut(images))


@dataclass
class _Opened:
    """Inputs that a process opens and checks by itself."""

    backend: Backend
    images: LabelledImages
    pipeline: TrainingPipeline
    verification: list[Pairs]
    metric: str | None
    schedule: Schedule
    course: str
    path: Path | None
    damaged: list[Path]
    checkpoint: Checkpoint | None
    progress: Progress
    start: Start


def prepare_training(
    config: TrainConfig, group: Group, *, resume: bool, overwrite: bool = False, console: Console
) -> Training:
    """Return a new or resumed run, having created nothing.

    Several processes call it together; an error on one of them ends all.

    Args:
        config: the configuration.
        group: of `join_group`.
        resume: continue the run from its newest checkpoint.
        overwrite: a run that is there will be replaced.
        console: where progress is shown.

    Raises:
        MarginfaceError: anything that would keep the run from working.
    """
    with together(group):
        opened = _open(config, group, resume=resume, overwrite=overwrite, console=console)
    require_same(
        group,
        _facts(config, opened),
        "give every process the same configuration, images and run folder",
    )
    with together(group):
        learner = _create_learner(config, group, opened, console)
    return Training(
        config=config,
        run=RunFolder(config.output),
        group=group,
        backend=opened.backend,
        loss=config.make_loss(),
        graph=config.model_spec().graph(),
        learner=learner,
        images=opened.images,
        pipeline=opened.pipeline,
        verification=opened.verification,
        metric=opened.metric,
        schedule=opened.schedule,
        progress=opened.progress,
        checkpoint=opened.path,
        damaged=opened.damaged,
        start=opened.start.lines,
        course=opened.course,
    )


def join_group(config: TrainConfig) -> Group:
    """Join the run's other processes, if there are any."""
    place = this_process()
    if place.size != config.processes:
        raise MarginfaceError(
            f"processes is {config.processes}, but this process is one of {place.size}; start all "
            f"with marginface train --processes {config.processes} or torchrun, or set "
            f"processes to {place.size}"
        )
    if place.size == 1:
        return ALONE
    try:
        group = load_backend(config.backend).join(
            threads=config.threads or place.threads(), device=config.device
        )
    except MarginfaceError as error:
        if place.local_rank:  # the machine's first process reports it
            raise AgreedError(str(error)) from error
        raise
    if (group.rank, group.size) != (place.rank, place.size):
        raise MarginfaceError(
            f"backend {config.backend} joined as process {group.rank} of {group.size}, but the "
            f"environment says {place.rank} of {place.size}; TensorFlow needs TF_CONFIG, which "
            "marginface train --processes sets and torchrun does not, and one GPU a process"
        )
    return group


def _load_backend(config: TrainConfig, *, resume: bool) -> Backend:
    """Load the framework; that of a run may be missing where another would go on."""
    try:
        return load_backend(config.backend)
    except MissingPackageError as error:
        others = installed_backends() if resume else []
        if others:
            error.args = (f"{error}; or go on in the other framework: --backend {others[0]}",)
        raise


def _open(
    config: TrainConfig, group: Group, *, resume: bool, overwrite: bool, console: Console
) -> _Opened:
    """Open and check everything that needs no other process."""
    run = RunFolder(config.output)
    check_output(config, resume=resume, overwrite=overwrite)
    if resume:
        check_resumption(config)
    graph = config.model_spec().graph()
    preprocessing = config.model_spec().preprocessing
    config.tuning().check(graph)
    verification = []
    if config.verifies():
        verification = open_all(
            config.val, config.val_pairs, config.val_images, skip_bad=config.skip_bad
        )
    for line in filter(None, map(left_out_line, verification)):
        say(console, line)
    metric = None if config.keep_best is None else metric_of(config.keep_best, verification)
    for pairs in verification:
        require_folds(pairs.name, pairs.fold)
        # Decoded whole, as the training images are: damage must not end the run hours later.
        reader = ImageReader(pairs.images, config.image_size(), resize=config.resize)
        for _, batch in reader.batches(distinct_images(pairs), config.batch_size):
            preprocessing.check_images(*batch.shape[1:3])
    backend = _load_backend(config, resume=resume)
    images = open_images(config, run, resume=resume, console=console)
    check_identities(config, images, run, resume)
    pipeline = TrainingPipeline(
        images,
        batch_size=config.batch_size,
        seed=config.seed,
        people_per_batch=config.people_per_batch,
        augment=config.augment,
        threads=config.loader_threads,
        crop=config.crop,
        rank=group.rank,
        size=group.size,
    )
    if told := few_images(config, images):
        say(console, told)
    schedule, course = _schedule(config, pipeline.steps_per_epoch, resume=resume)
    newest, damaged = newest_whole(config) if resume else (None, [])
    checkpoint = open_checkpoint(newest) if newest else None
    progress, start = Progress(), Start()
    if checkpoint and newest:
        progress, state = read_progress(newest, checkpoint.step, checkpoint.extra)
        pipeline.restore(state)
        if progress.best is not None and progress.best.metric != metric:
            progress.best = None  # what another metric found says nothing of this one
        for path in damaged:
            say(
                console,
                f"checkpoint {path} is damaged: going on from {newest.name}, the one before it; "
                f"it becomes {aside(path).name} (--refuse-damaged ends here instead)",
            )
    else:
        start = read_start(config, graph, images)
        for line in start.lines:
            say(console, line)
    return _Opened(
        backend,
        images,
        pipeline,
        verification,
        metric,
        schedule,
        course,
        newest,
        damaged,
        checkpoint,
        progress,
        start,
    )


def _schedule(config: TrainConfig, steps_per_epoch: int, *, resume: bool) -> tuple[Schedule, str]:
    """Return the learning rate's schedule, and a message if a resumed run changes it."""
    schedule, tuning = config.make_schedule(config.total_steps(steps_per_epoch)), config.tuning()
    if not resume:
        schedule.require_reached()
        tuning.check_reached(schedule.total_steps)
        return schedule, ""
    state = standing(config)
    if changes_course(state.recorded, config):  # else a resumed run may be cut short
        schedule.require_reached()
        tuning.check_reached(schedule.total_steps)
    before = state.recorded.make_schedule(state.recorded.total_steps(steps_per_epoch))
    course = new_course(before, schedule, state.step)
    was = state.recorded.tuning()
    if tuning != was:
        told = f"parts: {tuning.describe() or 'all alike'}; were {was.describe() or 'all alike'}"
        course = "; ".join(filter(None, [course, told]))
    return schedule, course


def _create_learner(
    config: TrainConfig, group: Group, opened: _Opened, console: Console
) -> Learner:
    """Create the learner and set its state, on all processes together."""
    learner = opened.backend.create_learner(
        config.learner_spec(
            len(opened.images.identities),
            group=group,
            threads=config.threads or this_process().threads(),
        )
    )
    if config.compile == "on" and not hasattr(learner, "compile"):
        raise MarginfaceError(
            f"compile is on, but backend {config.backend} has nothing to compile; "
            "use --compile auto or off"
        )
    if opened.checkpoint:
        state, specs = dict(opened.checkpoint.state), learner.array_specs()
        if config.tuning().frozen_at(opened.checkpoint.step - 1):
            # A run that was to freeze for good has no slots of what rests; they are zero till then.
            resting = config.tuning().first_steps(config.model_spec().graph())
            for name, (whole, _) in specs.items():
                if name.startswith("optimizer.") and name.split(".", 2)[-1] in resting:
                    state.setdefault(name, np.zeros(whole.shape, whole.dtype))
        check_fits(state, specs, f"checkpoint {opened.path}")
        learner.load_arrays(state)
    elif opened.start.arrays:
        learner.load_arrays(opened.start.arrays, strict=False)
        if config.init_head == "centers":
            load_centers(config, opened.images, learner, console)
    return learner


def _facts(config: TrainConfig, opened: _Opened) -> list[str]:
    """List the settings that all processes must share: all but locations and reading options.

    Lengths and intervals are among them, as they decide when processes meet.
    """
    values = config.model_dump(mode="json", exclude=set(LOCAL))
    facts = [f"{name} {value}" for name, value in values.items()]
    images, checkpoint = opened.images, opened.checkpoint
    sets = [len(pairs) for pairs in opened.verification]
    facts += [
        f"{len(images.identities)} identities",
        f"{len(images)} images",
        f"images with names of digest {opened.pipeline.state()['images_sha256'][:12]}",
        f"{' + '.join(map(str, sets)) or 'no'} verification pairs",
        f"the checkpoint of step {checkpoint.step}" if checkpoint else "no checkpoint",
        f"first weights of digest {opened.start.digest()}",
    ]
    return facts
