"""The training loop."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from marginface.backbones import draw_backbone
from marginface.heads import draw_step, split_sample
from marginface.losses.registry import is_own
from marginface.own_code import telling_own_errors
from marginface.runs.checkpoint_writer import record_again
from marginface.terminal import Terminal
from marginface.text import counted
from marginface.training.best import stalled
from marginface.training.compiling import start_compiling
from marginface.training.computing import how_it_computes, how_many_left_out, left_out
from marginface.training.config.keys import MAX_STEPS_BETWEEN_CHECKPOINTS, TrainConfig
from marginface.training.divergence import require_finite_arrays, require_finite_step
from marginface.training.duration import first_forecast, forecast
from marginface.training.ending import LOOKED_AT, closing_words
from marginface.training.output import sole_run_writer
from marginface.training.preparation import Training, join_group, prepare_training
from marginface.training.processes.groups import agree, this_process, together
from marginface.training.progress import Progress
from marginface.training.recording import record_start, undoing_start
from marginface.training.result import TrainResult
from marginface.training.resuming import finished_run, nothing_left
from marginface.training.saving import one_folder, save_checkpoint
from marginface.training.stopping import StopRequest
from marginface.training.trackers import Callback, Silence, Tracker
from marginface.training.verifying import verify

FORECAST_STEP = 2  # the first is slow: allocation, tracing


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Train as `config` says and leave everything in its run folder.

    Where the environment names several processes (RANK and WORLD_SIZE, as torchrun sets them), all
    call this together; process 0 alone writes and prints.

    Args:
        config: the configuration; for a resumed run from `resume_config`.
        resume: continue the run in `config.output` from its newest checkpoint; one that has all
            of its steps is left as it is.
        overwrite: replace a run that is in `config.output`, once its successor can start.
        console: where progress is shown; standard error by default.
        callbacks: each is called with every record of metrics, on process 0. An exception in one
            stops the run as Ctrl-C does, with a checkpoint, and is raised then.

    Raises:
        MarginfaceError: bad data or configuration; nothing has been created then.
        TrainingDivergedError: the loss became NaN or infinite, on every process alike.
        BusyError: another process writes the run.
        AgreedError: something failed on one of several processes; all raise it.
    """
    console = console or Terminal(stderr=True, quiet=this_process().rank > 0)
    if resume and (run := finished_run(config)):
        console.print(nothing_left(config, run), soft_wrap=True)
        return _result(config.output, run.progress, None)
    group = join_group(config)
    with ExitStack() as held:
        with together(group):
            if group.rank == 0:
                held.enter_context(sole_run_writer(config, resume=resume))
        training = prepare_training(
            config, group, resume=resume, overwrite=overwrite, console=console
        )
        with undoing_start(training, resume=resume, overwrite=overwrite):
            return _train(training, resume, overwrite, console, callbacks)


def _train(
    training: Training,
    resume: bool,
    overwrite: bool,
    console: Console,
    callbacks: Sequence[Callback],
) -> TrainResult:
    config, group = training.config, training.group
    record_start(training, resume=resume, overwrite=overwrite)
    shared = one_folder(group, training.run.path)
    stopping_signals = StopRequest(quiet=group.rank > 0)
    failures: list[Exception] = []

    def call_back(record: dict[str, Any]) -> None:
        for callback in callbacks:
            try:
                callback(dict(record))
            except Exception as error:
                failures.append(error)
                stopping_signals.received = stopping_signals.received or signal.SIGINT

    tracker: Tracker = Silence()
    if group.rank == 0:
        tracker = Tracker(
            training.run,
            total_steps=training.schedule.total_steps,
            first_step=training.progress.step,
            console=console,
            on_record=call_back,
        )

    learner, pipeline, progress = training.learner, training.pipeline, training.progress
    first = group.rank == 0  # which alone writes and prints
    total_steps = training.schedule.total_steps
    val_every = config.val_every or pipeline.steps_per_epoch
    checkpoint_every = config.checkpoint_every or min(
        pipeline.steps_per_epoch, MAX_STEPS_BETWEEN_CHECKPOINTS
    )
    newest, saved_step, rate = training.checkpoint, progress.step, 0.0
    auto_compile = start_compiling(training)
    own_loss, tuning = is_own(training.loss), config.tuning()
    seconds, steps = 0.0, 0  # since the last line of metrics
    taken, skipped = 0, 0  # steps of this start; those that float16 left out
    waiting = skipping = (
        False  # whether a checkpoint is due, and whether the last step was left out
    )
    grown = ""  # the last warning of a batch with more identities than are sampled

    with stopping_signals as stop, tracker:
        tracker.say(_summary(training))
        for line in how_it_computes(config, learner.device_name):
            tracker.say(line)
        if first and overwrite and training.run.replaced.is_dir():
            tracker.say(f"the run before waits in {training.run.replaced} for a checkpoint of this")
        if training.course:
            tracker.say(training.course)
        if tuned := tuning.describe():
            tracker.say(tuned)
        if first and progress.step < total_steps:
            share = config.batch_size // group.size
            steps_left = total_steps - progress.step
            told = first_forecast(
                learner, training.graph, config.backbone, steps_left, config.batch_size, share
            )
            if told:
                tracker.say(f"{told}; a better figure follows after {FORECAST_STEP} steps")
        while True:
            step = progress.step
            finished = step >= total_steps
            received = agree(group, stop.received)

            verification_due = finished or step % val_every == 0
            verification_due &= bool(step or training.start)  # random weights know nobody yet
            verification_due &= received is None and not progress.verified
            if training.verification and verification_due:
                require_finite_arrays(learner, group, config, step, rate, newest)
                received = verify(training, tracker, stop)
            verified = verification_due and progress.verified

            finished |= stalled(progress.best, config.stop_after)
            stopping = finished or received is not None
            best = None if progress.best is None else progress.best.step
            new_best = best == step and (step > saved_step or newest is None)
            # Checkpoints amid overflows would take the place of good ones.
            waiting = (waiting or step % checkpoint_every == 0) and step > saved_step
            due = (stopping and step > saved_step) or (waiting and not skipping)
            if due or new_best:
                require_finite_arrays(learner, group, config, step, rate, newest)
                newest = save_checkpoint(
                    group,
                    learner,
                    training.run.checkpoints,
                    step,
                    _plain(training),
                    shared=shared,
                    keep=config.keep_checkpoints,
                    best=best,
                )
                saved_step, waiting = step, False
                if first and overwrite and step:
                    training.run.drop_replaced()
            elif verified and newest and step == saved_step:  # by a run that was stopped before
                with together(group):
                    if first:
                        record_again(newest, _plain(training))

            if stopping:
                break

            if step == tuning.unfreeze_at:
                tracker.say(f"step {step}: {', '.join(tuning.freeze)} no longer frozen")
            started = time.perf_counter()
            with together(group):
                batch = next(pipeline)
            rate = training.schedule(step)
            draw = _draw(training, batch.all_labels, step)
            recorded = (step + 1) % config.log_every == 0 or step + 1 == total_steps
            if not grown and (grown := _growth(training, draw)):
                tracker.say(grown)
            what = f"step {step + 1} with {config.loss} fails"
            with telling_own_errors(what) if own_loss else nullcontext():
                result = learner.step(batch.images, batch.labels, rate, draw, measure=recorded)
            elapsed = time.perf_counter() - started

            progress.step = step = step + 1
            taken += 1
            if taken == FORECAST_STEP and step < total_steps:
                steps_left = total_steps - step
                tracker.say(forecast(config.backbone, steps_left, elapsed, config.batch_size))
            require_finite_step(result, config, step, rate, newest)
            if skipping := result.left_out:
                tracker.say(left_out(result, step))
                skipped += 1
            progress.losses.append(result.loss)
            seconds, steps = seconds + elapsed, steps + 1
            speed = config.batch_size * steps / seconds
            tracker.step(step, loss=result.loss, lr=rate, images_per_second=speed)

            if result.metrics:
                metrics = {
                    "epoch": step / pipeline.steps_per_epoch,
                    "loss": sum(progress.losses) / len(progress.losses),
                    **result.metrics._asdict(),
                    "lr": rate,
                    # JSON has no word for what overflowed.
                    **({} if result.left_out else {"gradient_norm": result.gradient_norm}),
                    "images_per_second": round(speed, 3),
                }
                seconds_left = (total_steps - step) * config.batch_size / speed
                tracker.train(step, metrics, seconds_left=seconds_left)
                progress.losses.clear()
                seconds, steps = 0.0, 0

            if auto_compile and (decision := auto_compile.observe(elapsed, total_steps - step)):
                progress.compiled_backend = config.backend if auto_compile.compiled else None
                tracker.say(decision)

        seen = None
        if first and received is None and taken:
            seen = learner.embed(batch.images[:LOOKED_AT])
        if skipped:
            tracker.say(how_many_left_out(skipped, taken))
        tracker.say(_ending(training, received, newest, seen))
    if failures:
        raise failures[0]
    return _result(training.run.path, progress, received)


def _result(run: Path, progress: Progress, received: int | None) -> TrainResult:
    best_step = None if progress.best is None else progress.best.step
    return TrainResult(run, progress.step, progress.best_accuracy, received, best_step)


def _plain(training: Training) -> dict[str, Any]:
    """Return what a checkpoint holds besides the learner's arrays."""
    progress = asdict(training.progress)
    if training.progress.best is None:
        del progress["best"]  # which earlier versions do not know
    return {"progress": progress, "pipeline": training.pipeline.state()}


def _draw(training: Training, labels: NDArray[np.int64], step: int) -> dict[str, NDArray[Any]]:
    """Draw a step's randomness, the same on all processes; return this process's part."""
    config, group = training.config, training.group
    drawn = draw_step(
        training.loss,
        np.random.default_rng([config.seed, step]),
        labels,
        len(training.images.identities),
        config.sample_rate,
        config.sampling or "partial_fc",
    )
    classes, samples = split_sample(drawn, config.sample_rate)
    samples |= draw_backbone(training.graph, config.seed, step, len(labels))
    return classes | {name: value[group.rank :: group.size] for name, value in samples.items()}


def _growth(training: Training, draw: dict[str, NDArray[Any]]) -> str:
    """Return a warning if a batch has more identities than sample_rate samples; else ""."""
    rate, identities = training.config.sample_rate, len(training.images.identities)
    num_samples = int(rate * identities)
    if rate == 1 or len(draw["classes"]) <= num_samples:
        return ""
    return (
        f"a batch of {len(draw['classes'])} identities takes them all, though sample_rate {rate} "
        f"of {identities} is {num_samples}; so does every batch of more than {num_samples}"
    )


def _summary(training: Training) -> str:
    """Summarise the run before its first step."""
    config, images, start = training.config, training.images, training.progress.step
    device = training.learner.device_name
    place = "" if device == "cpu" else f" on {device}"
    begin = f"resuming at step {start}" if start else "training"
    return (
        f"{begin}: {config.backbone}-{config.embedding_size} with {config.loss} on "
        f"{len(images)} images of {len(images.identities)} identities, "
        f"{counted(training.schedule.total_steps, 'step')} of {config.batch_size} images, "
        f"{training.backend.version()}{place}"
    )


def _ending(
    training: Training,
    received: int | None,
    checkpoint: Path | None,
    embeddings: NDArray[np.float32] | None,
) -> str:
    """Say how the run ended and what to do with it."""
    path, step = training.run.path, training.progress.step
    if received:
        saved = f"saved {checkpoint}" if checkpoint else "nothing to save yet"
        return (
            f"stopped at step {step}, {saved}; continue: marginface train --output "
            f"{quote(str(path))} --resume"
        )
    return closing_words(training.config, training.progress, embeddings)
