"""The last words of a run: what became of it, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from marginface.runs.folder import RunFolder
from marginface.runs.metrics import TRAIN, read_metrics
from marginface.text import counted
from marginface.training.best import first_value, stalled, why_stalled
from marginface.training.config.keys import TrainConfig
from marginface.training.progress import Progress
from marginface.vectors import directionless, unit_embeddings

LEAST_FALL = 0.02  # of the loss at first; less is within what batches vary by
ALIKE = 1e-5  # 1 - cosine: untrained networks have less, some 30 good steps 10 times as much
LOOKED_AT = 32  # images
SOON = 30  # steps; before, a loss may not have fallen yet, and BatchNorm's statistics are new


def closing_words(
    config: TrainConfig, progress: Progress, embeddings: NDArray[np.float32] | None = None
) -> str:
    """Say why a run has ended, where its model is, how to evaluate it, and if it learned nothing.

    Args:
        config: the run's.
        progress: at its end.
        embeddings: [images, size], of some training images at the end.
    """
    run, step, best = RunFolder(config.output), progress.step, progress.best
    records = read_metrics(run.metrics)
    losses = [record["loss"] for record in records if record["kind"] == TRAIN]
    end = f"finished {counted(step, 'step')}" + ("" if best is None else f", the best: {best}")
    if best is not None and stalled(best, config.stop_after):
        end = f"ended after {counted(step, 'step')}, {why_stalled(best)}"
    if best is not None and (at_first := first_value(records, best.metric)) is not None:
        end += f" ({at_first:.4f} at step 0)" if best.step else ", with the weights it started from"
    parts = [end, f"model: {config.output}"]
    # Before SOON the head has yet to turn. From weights that know faces, losses may begin low.
    complaint = not_fallen(losses) if step >= SOON and config.init is None else ""
    if not complaint and step >= SOON and embeddings is not None and all_alike(embeddings):
        complaint = "the model gives all images the same embedding, so it learned nothing"
    if complaint:
        parts.append(f"{complaint}; try another --lr (it was {config.lr:g})")
    return "; ".join([*parts, _evaluate(config)])  # the last: to be copied to the line's end


def not_fallen(losses: Sequence[float]) -> str:
    """Return a complaint if the losses of a run, in its order, did not fall; else "".

    >>> not_fallen([9.0, 8.0, 7.0])
    ''
    >>> not_fallen([-8.0, -9.0])
    ''
    >>> not_fallen([9.01, 9.0, 8.99])
    'the loss did not fall (9.01 at first, 8.99 at the end), so the model learned nothing'
    """
    count = max(1, len(losses) // 10)
    if len(losses) < 2:
        return ""
    first, last = sum(losses[:count]) / count, sum(losses[-count:]) / count
    if last < first - LEAST_FALL * abs(first):  # SFace's losses are negative
        return ""
    return (
        f"the loss did not fall ({first:.3g} at first, {last:.3g} at the end), so the model "
        "learned nothing"
    )


def all_alike(embeddings: NDArray[np.float32]) -> bool:
    """Return whether embeddings [images, size] tell nothing apart, as where a rate is too high.

    The loss of such a model may have fallen: from where the rate had thrown it.

    >>> all_alike(np.array([[1, 2], [2, 4.00001]])), all_alike(np.array([[1, 2], [2, 4.1]]))
    (True, False)
    """
    if len(directionless(embeddings)):
        return True
    cosines = unit_embeddings(embeddings) @ unit_embeddings(embeddings[:1])[0]
    return bool(cosines.min() > 1 - ALIKE)


def _evaluate(config: TrainConfig) -> str:
    """Return the command that evaluates the run on its own pairs, to be pasted as it is."""
    if not config.verifies():
        return "it has no pairs to evaluate it on; marginface evaluate --help lists what it takes"
    command = ["marginface", "evaluate", "--model", str(config.output)]
    if config.keep_best is not None:
        command += ["--checkpoint", "best"]
    for path in config.val:
        command += ["--val", str(path)]
    if config.val_pairs is not None:
        command += ["--pairs", str(config.val_pairs)]
    if config.val_images is not None:
        command += ["--images", str(config.val_images)]
    if config.resize:
        command.append("--resize")  # the model knows how
    if config.skip_bad:
        command.append("--skip-bad")
    if not find_spec("onnxruntime"):  # which evaluation would use
        command += ["--backend", config.backend]
    return f"evaluate: {shlex.join(command)}"
