"""The class weights of a run, for `export`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from marginface import losses
from marginface.errors import MarginfaceError
from marginface.onnx.classifier import ClassWeights
from marginface.runs.checkpoints import load_checkpoint
from marginface.runs.chosen import read_chosen
from marginface.runs.folder import RunFolder, no_checkpoint


def read_classes(
    path: Path, checkpoint: str | int | None, config: Mapping[str, Any]
) -> tuple[ClassWeights, tuple[str, ...]]:
    """Return a run's class weights, and the identities' names.

    Args:
        path: the run's folder, or one of its checkpoints.
        checkpoint: as `load_run` takes it.
        config: the run's.

    Raises:
        MarginfaceError: it has none, or names that do not fit.
    """
    named = path.parent.name == "checkpoints"
    run = RunFolder(path.parents[1] if named else path)
    read = partial(load_checkpoint, prefix="head.")
    loaded = read(path) if named else read_chosen(run.checkpoints, checkpoint, read)
    if loaded is None:
        raise no_checkpoint(path)
    if "head.weight" not in loaded.state or not run.identities.is_file():
        raise MarginfaceError(
            f"{path} has no class weights with an identities.txt, which --classifier needs; give "
            "the folder of a run that trained them"
        )
    given = {name: config[name] for name in ("scale", "margin") if config.get(name) is not None}
    loss = losses.get(config["loss"], **config.get("loss_parameters", {}), **given)
    names, weight = run.read_identities(), np.asarray(loaded.state["head.weight"])
    centers = loss.num_centers
    if len(weight) != len(names) * centers:
        raise MarginfaceError(
            f"{path} has {len(weight)} class weights for the {len(names)} names of its "
            f"identities.txt, expected {centers} for each; restore that file"
        )
    bias = loaded.state.get("head.bias")
    if loss.normalized:
        return ClassWeights(weight, centers), names
    plain = None if bias is None else np.asarray(bias, np.float64)
    return ClassWeights(weight, centers, False, loss.scale, plain), names
