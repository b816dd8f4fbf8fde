"""Training curves from what a run records."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from marginface.backbones.parts import Tuning
from marginface.errors import MarginfaceError
from marginface.runs.chosen import find_best
from marginface.runs.folder import RunFolder
from marginface.runs.metrics import TRAIN, VERIFICATION, read_metrics
from marginface.training.config.files import read_config_file


def read_training(model: Path) -> dict[str, list[float | None]] | None:
    """Return loss, batch metrics and learning rate over steps, and the verifications on the way.

    Args:
        model: a run, one of its checkpoints, or an ONNX file.

    Returns:
        `step`, `loss`, `lr`, and of the batch at a step `batch_accuracy` and `target_angle`,
        alike in length; `checked`, the steps of the verifications, and `accuracy`. What is not
        finite, or was not recorded by an earlier version, is None. None for an ONNX file or a run
        without metrics.

    Raises:
        MarginfaceError: metrics.jsonl does not hold what a run writes.
    """
    path = _folder(model).metrics
    metrics = read_metrics(path) if model.is_dir() else []
    if not metrics:
        return None
    try:
        training = [line for line in metrics if line["kind"] == TRAIN]
        checks = [line for line in metrics if line["kind"] == VERIFICATION]
        return {
            **{name: _column(training, name) for name in ("step", "loss", "lr")},
            "batch_accuracy": _column(training, "accuracy", missing=math.nan),
            "target_angle": _column(training, "target_angle", missing=math.nan),
            "checked": _column(checks, "step"),
            "accuracy": _column(checks, "accuracy"),
        }
    except (KeyError, TypeError, ValueError):
        raise MarginfaceError(
            f"{path} is not what a run writes (step, loss, lr; accuracy); restore or delete it"
        ) from None


def describe_training(model: Path) -> str:
    """Say what curves do not show: a run's best checkpoint, what was frozen, rates by part.

    Args:
        model: as `read_training` takes it.
    """
    run = _folder(model)
    if not model.is_dir() or not run.config.is_file():
        return ""
    keys = read_config_file(run.config)
    tuning = Tuning(**{each.name: keys[each.name] for each in fields(Tuning) if each.name in keys})
    best = find_best(run.checkpoints)
    return ", ".join(filter(None, [tuning.describe(), f"the best is {best}" if best else ""]))


def _folder(model: Path) -> RunFolder:
    return RunFolder(model.parents[1] if model.parent.name == "checkpoints" else model)


def _column(
    lines: list[dict[str, Any]], name: str, missing: float | None = None
) -> list[float | None]:
    values = (float(line[name] if missing is None else line.get(name, missing)) for line in lines)
    return [value if math.isfinite(value) else None for value in values]
