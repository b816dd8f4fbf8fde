"""The last words of a run: what became of it, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.util import find_spec

from marginface.runs.folder import RunFolder
from marginface.runs.metrics import TRAIN, read_metrics
from marginface.training.config.keys import TrainConfig

LEAST_FALL = 0.02  # of the loss at first; less is within what batches vary by


def closing_words(config: TrainConfig, step: int) -> str:
    """Say that a run has ended, where its model is, how to evaluate it, and if it learned nothing.

    Args:
        config: the run's.
        step: steps taken.
    """
    run = RunFolder(config.output)
    records = read_metrics(run.metrics)
    losses = [record["loss"] for record in records if record["kind"] == TRAIN]
    parts = [f"finished {step} steps", f"model: {config.output}", _evaluate(config)]
    if complaint := not_fallen(losses):
        parts.append(f"{complaint}; try another --lr (it was {config.lr:g})")
    return "; ".join(parts)


def not_fallen(losses: Sequence[float]) -> str:
    """Return a complaint if the losses of a run, in its order, did not fall; else "".

    >>> not_fallen([9.0, 8.0, 7.0])
    ''
    >>> not_fallen([9.01, 9.0, 8.99])
    'the loss did not fall (9.01 at first, 8.99 at the end), so the model learned nothing'
    """
    count = max(1, len(losses) // 10)
    if len(losses) < 2:
        return ""
    first, last = sum(losses[:count]) / count, sum(losses[-count:]) / count
    if last < (1 - LEAST_FALL) * first:
        return ""
    return (
        f"the loss did not fall ({first:.3g} at first, {last:.3g} at the end), so the model "
        "learned nothing"
    )


def _evaluate(config: TrainConfig) -> str:
    """Return the command that evaluates the run on its own pairs, to be pasted as it is."""
    if not config.verifies():
        return "it has no pairs to evaluate it on; marginface evaluate --help lists what it takes"
    command = ["marginface", "evaluate", "--model", str(config.output)]
    for path in config.val:
        command += ["--val", str(path)]
    if config.val_pairs is not None:
        command += ["--pairs", str(config.val_pairs)]
    if config.val_images is not None:
        command += ["--images", str(config.val_images)]
    if config.resize:
        command.append("--resize")
    if not find_spec("onnxruntime"):  # which evaluation would use
        command += ["--backend", config.backend]
    return f"evaluate: {shlex.join(command)}"
