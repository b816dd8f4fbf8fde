"""Everything that a training loop needs, built and checked before anything is created."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from marginface import backbones
from marginface.backend import Backend, Learner, load_backend
from marginface.data.folder import ImageFolder, open_image_folder
from marginface.data.pairs import Pairs, read_pairs
from marginface.data.pipeline import TrainingPipeline
from marginface.errors import MarginfaceError
from marginface.evaluation.evaluate import distinct_images
from marginface.evaluation.image_batches import ImageReader
from marginface.losses import MarginLoss
from marginface.training.checkpoints import (
    check_fits,
    latest_checkpoint,
    load_checkpoint,
)
from marginface.training.config import TrainConfig
from marginface.training.config_files import config_text
from marginface.training.environment import environment
from marginface.training.run import RunFolder, write_text
from marginface.training.schedules import Schedule
from marginface.training.trackers import cut_back


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds besides the learner and the pipeline.

    Args:
        step: steps taken.
        losses: of the steps since the last line of metrics.
        verified_step: the last step that was verified.
        best_accuracy: the best verification accuracy; None before the first.
        compiled_backend: the backend for which compiling was found to pay.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    verified_step: int = 0
    best_accuracy: float | None = None
    compiled_backend: str | None = None


@dataclass
class Session:
    """A run, ready to go on."""

    config: TrainConfig
    run: RunFolder
    backend: Backend
    loss: MarginLoss
    learner: Learner
    folder: ImageFolder
    pipeline: TrainingPipeline
    pairs: Pairs | None
    schedule: Schedule
    progress: Progress
    checkpoint: Path | None  # the one that it goes on from


def open_session(config: TrainConfig, *, resume: bool, console: Console) -> Session:
    """Return a new or resumed run, having created nothing.

    Raises:
        MarginfaceError: anything that would keep the run from working.
    """
    run = RunFolder(config.output)
    if resume:
        run.require_run()
    else:
        run.require_free()
        _require_apart(config)
    loss, spec = config.make_loss(), config.model_spec()
    graph = backbones.describe(
        spec.backbone, spec.embedding_size, input_size=spec.input_size, dropout=spec.dropout
    )
    pairs = None
    if config.val_pairs and config.val_images:
        pairs = read_pairs(config.val_pairs, config.val_images)
        # Decoded whole, as the training images are: damage must not end the run hours later.
        reader = ImageReader(config.val_images, config.input_size, resize=config.resize)
        for _ in reader.batches(distinct_images(pairs), config.batch_size):
            pass
    backend = load_backend(config.backend)
    folder = _open_folder(config, console)
    _check_identities(config, folder, run, resume)
    pipeline = TrainingPipeline(
        folder,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=config.augment,
        threads=config.loader_threads,
    )
    schedule = config.make_schedule(config.total_steps(pipeline.steps_per_epoch))
    if not resume:  # a resumed run may be cut short
        schedule.require_reached()
    newest = latest_checkpoint(run.checkpoints) if resume else None
    checkpoint = load_checkpoint(newest) if newest else None
    progress = Progress(**checkpoint.extra["progress"]) if checkpoint else Progress()
    learner = backend.create_learner(
        spec,
        loss,
        len(folder.identities),
        config.make_optimizer(),
        seed=config.seed,
        threads=config.threads,
    )
    if config.compile == "on" and not hasattr(learner, "compile"):
        raise MarginfaceError(
            f"compile is on, but backend {config.backend} has nothing to compile; "
            "use --compile auto or off"
        )
    if checkpoint:
        check_fits(checkpoint.state, learner.state(), f"checkpoint {newest}")
        learner.load_state(checkpoint.state)
        pipeline.restore(checkpoint.extra["pipeline"])
    elif config.init_weights:
        weights = backbones.check_weights(
            graph, backbones.read_weights(config.init_weights), str(config.init_weights)
        )
        named = {f"backbone.{name}": value for name, value in weights.items()}
        learner.load_state({**learner.state(), **named})
    return Session(
        config=config,
        run=run,
        backend=backend,
        loss=loss,
        learner=learner,
        folder=folder,
        pipeline=pipeline,
        pairs=pairs,
        schedule=schedule,
        progress=progress,
        checkpoint=newest,
    )


def record_session(session: Session, *, resume: bool) -> None:
    """Create the run folder, or bring a resumed one back to its checkpoint."""
    run, progress = session.run, session.progress
    run.path.mkdir(parents=True, exist_ok=True)
    sessions = run.read_sessions() if resume else []
    if resume:
        cut_back(run.metrics, progress.step, verified=progress.verified_step == progress.step)
    sessions.append(environment(session.backend.version(), first_step=progress.step))
    model = session.config.model_spec().to_json()
    for path, text in (
        (run.environment, json.dumps({"sessions": sessions}, indent=1) + "\n"),
        (run.identities, "".join(f"{name}\n" for name in session.folder.identities)),
        (run.model, json.dumps(model, indent=1) + "\n"),
        (run.config, config_text(session.config)),  # the last: it makes the folder a run
    ):
        write_text(path, text)


def _require_apart(config: TrainConfig) -> None:
    """Raise if the run would lie among the images: it would be read as identities next time."""
    output = config.output.resolve()
    for name, images in (("data", config.data), ("val_images", config.val_images)):
        if images is not None and output.is_relative_to(images.resolve()):
            raise MarginfaceError(
                f"output {config.output} lies in {name} {images}, among the images; "
                "choose a folder outside"
            )


def _open_folder(config: TrainConfig, console: Console) -> ImageFolder:
    with console.status("checking images") as status:
        folder = open_image_folder(
            config.data,
            size=config.input_size,
            resize=config.resize,
            skip_bad=config.skip_bad,
            on_progress=lambda done, total: status.update(f"checking images: {done}/{total}"),
        )
    lines = [f"skipped {path}: {reason}" for path, reason in folder.skipped[:10]]
    if folder.skipped:
        lines.append(f"skipped {len(folder.skipped)} bad images or empty folders in all")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return folder


def _check_identities(
    config: TrainConfig, folder: ImageFolder, run: RunFolder, resume: bool
) -> None:
    found = len(folder.identities)
    if config.num_classes is not None and config.num_classes != found:
        raise MarginfaceError(
            f"num_classes is {config.num_classes}, but {config.data} has {found} identities; "
            "correct it, or leave it out to use what is there"
        )
    if resume and run.identities.is_file():
        recorded = run.read_identities()
        if recorded != folder.identities:
            raise MarginfaceError(
                f"{config.data} has {found} identities that differ from the {len(recorded)} which "
                f"run {run.path} was trained on; resume with the same data"
            )
