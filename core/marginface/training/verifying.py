"""Verification in the course of training."""

from __future__ import annotations

from marginface.evaluation.evaluate import evaluate_pairs
from marginface.training.session import Session
from marginface.training.stopping import StopRequest
from marginface.training.trackers import Tracker


class _Stopped(Exception):
    """Leaves a verification that a stop signal made pointless."""


def verify(session: Session, tracker: Tracker, stop: StopRequest) -> None:
    """Measure verification accuracy and record it; a stop signal leaves it for the resumed run."""
    config, progress = session.config, session.progress
    assert session.pairs is not None
    assert config.val_images is not None

    def leave_if_stopped(done: int, total: int) -> None:
        del done, total
        if stop.received:
            raise _Stopped

    try:
        leave_if_stopped(0, 0)
        result, _ = evaluate_pairs(
            session.learner.embed,
            session.pairs,
            config.val_images,
            batch_size=config.batch_size,
            size=config.input_size,
            resize=config.resize,
            on_progress=leave_if_stopped,
        )
    except _Stopped:
        return
    progress.verified_step = progress.step
    if progress.best_accuracy is None or result.accuracy > progress.best_accuracy:
        progress.best_accuracy = result.accuracy
    tracker.verification(
        progress.step,
        {
            "epoch": progress.step / session.pipeline.steps_per_epoch,
            "accuracy": result.accuracy,
            "accuracy_std": result.accuracy_std,
            "accuracy_at_one_threshold": result.best_accuracy,
            "auc": result.auc,
            "eer": result.eer,
            "best_accuracy": progress.best_accuracy,
        },
    )
