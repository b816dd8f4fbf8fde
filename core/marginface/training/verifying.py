"""Verification in the course of training."""

from __future__ import annotations

import json
from collections.abc import Mapping

from marginface.evaluation import verification
from marginface.evaluation.evaluate import distinct_images, embed_pairs, score_pairs
from marginface.runs.best import Best
from marginface.training.best import judge, value_of
from marginface.training.preparation import Training
from marginface.training.processes.groups import agree, together
from marginface.training.stopping import StopRequest
from marginface.training.trackers import Tracker


class _Stopped(Exception):
    """Ends a verification after a stop signal."""


def verify(training: Training, tracker: Tracker, stop: StopRequest) -> int | None:
    """Measure verification accuracy on process 0 and record it; see `figures_to_record`.

    The others wait and hear from process 0 at every batch, so that no wait exceeds the framework's
    timeout.

    Returns:
        The stop signal that cut it short, which leaves it for the resumed run; or None.
    """
    config, progress, group = training.config, training.progress, training.group
    figures: dict[str, float] = {}

    def meet(done: int = 0, total: int = 0) -> None:
        del done, total
        if received := agree(group, stop.received):
            raise _Stopped(received)

    try:
        meet()
        with together(group):
            results: dict[str, verification.VerificationResult] = {}
            for pairs in training.verification:
                if group.rank == 0:
                    embeddings = embed_pairs(
                        training.embed,
                        pairs,
                        batch_size=config.batch_size,
                        size=config.image_size(),
                        resize=config.resize,
                        on_progress=meet,
                    )
                    scores = score_pairs(pairs, embeddings).scores
                    results[pairs.name] = verification.verify(scores, pairs.same, pairs.fold)
                else:
                    for _ in range(0, len(distinct_images(pairs)), config.batch_size):
                        meet()
            figures = figures_to_record(results)
    except _Stopped as stopped:
        return int(stopped.args[0])
    figures = json.loads(group.exchange(json.dumps(figures))[0])
    progress.verified_step = progress.step
    progress.best_accuracy = max(figures["accuracy"], progress.best_accuracy or 0.0)
    record = {
        "epoch": progress.step / training.pipeline.steps_per_epoch,
        **figures,
        "best_accuracy": progress.best_accuracy,
    }
    if training.metric is not None:
        value = value_of(training.metric, figures)
        progress.best = judge(progress.best, Best(training.metric, value, progress.step))
        record["best_step"] = progress.best.step
    tracker.verification(progress.step, record, progress.best)
    return None


def figures_to_record(results: Mapping[str, verification.VerificationResult]) -> dict[str, float]:
    """Return the figures to record; of several sets, the means and each set's own.

    A set's own accuracy is called `lfw/accuracy` and so on. The best accuracy of a run is that of
    the mean. The threshold is for embeddings summed with the mirror image's; several have no mean.
    """
    figures = {
        name: {
            "accuracy": result.accuracy,
            "accuracy_std": result.accuracy_std,
            "accuracy_at_one_threshold": result.best_accuracy,
            "threshold": result.threshold,
            "auc": result.auc,
            "eer": result.eer,
            **{f"tar@{target}": rate for target, rate in result.tar_at_far.items()},
        }
        for name, result in results.items()
    }
    means = {
        key: sum(of_set[key] for of_set in figures.values()) / len(figures)
        for key in next(iter(figures.values()), {})
        if key != "threshold" or len(figures) == 1
    }
    if len(figures) == 1:
        return means
    return means | {
        f"{name}/{key}": value for name, of_set in figures.items() for key, value in of_set.items()
    }
