"""First class weights from what arcface_torch leaves to resume a run: a file for each process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.record_images import RecordImages
from marginface.data.sources import LabelledImages
from marginface.errors import MarginfaceError
from marginface.pickles.tensors import Tensor
from marginface.pickles.torch_files import is_torch_file, read_torch_file
from marginface.training.config.keys import TrainConfig

SHARD = re.compile(r"checkpoint_gpu_(\d+)\.pt")
HEAD = "state_dict_softmax_fc"


def head_of_checkpoint(
    config: TrainConfig, init: Path, images: LabelledImages
) -> tuple[NDArray[Any], str] | None:
    """Return the class weights beside the backbone in `init`, and what to say; None for no such.

    They have no names: a person's row is the label in the records that they were trained on. Each
    process has a range of rows, in the order of the processes.

    Raises:
        MarginfaceError: they are not those of the identities of `images`.
    """
    first = class_weights_in(init)
    if first is None:
        return None
    shards = {0: init}
    if SHARD.fullmatch(init.name):
        matches = ((SHARD.fullmatch(each.name), each) for each in init.parent.iterdir())
        shards = {int(match[1]): each for match, each in matches if match}
    parts = []
    for rank in range(max(shards) + 1):
        part = class_weights_in(shards[rank]) if rank in shards else None
        if part is None or part.shape[1] != first.shape[1]:
            raise MarginfaceError(
                f"beside {init} lie the class weights of {len(shards)} processes, but none of "
                f"{first.shape[1]} numbers of process {rank}; put the files of all processes of "
                "one run in one folder, or take --init-head centers"
            )
        parts.append(part.array())
    weight = np.concatenate(parts)
    source = f"{len(shards)} file{'s' * (len(shards) > 1)} such as {init}"
    instead = "or take --init-head centers"
    if not isinstance(images, RecordImages) or not images.numbered:
        raise MarginfaceError(
            f"the class weights in {source} are by label, and identities of {images.root} have "
            f"names; give the .rec that they were trained on, {instead}"
        )
    if config.make_loss().num_centers > 1 or weight.shape[1] != config.embedding_size:
        raise MarginfaceError(
            f"the class weights in {source} are one for each label of {weight.shape[1]} numbers, "
            f"{config.loss} has {config.make_loss().num_centers} of {config.embedding_size}; take "
            "--init-head centers"
        )
    labels = np.array([int(name) for name in images.identities])
    if labels.max() >= len(weight):
        raise MarginfaceError(
            f"the class weights in {source} are of {len(weight)} labels, {images.root} has label "
            f"{labels.max()}; put the files of all processes in one folder, {instead}"
        )
    return weight[labels], f"class weights: those of {len(labels)} labels in {source}"


def class_weights_in(path: Path) -> Tensor | None:
    """Return the class weights beside the backbone in a file; None for no such."""
    values = read_torch_file(path) if is_torch_file(path) else None
    head = values.get(HEAD) if isinstance(values, dict) else None
    weight = head.get("weight") if isinstance(head, dict) else None
    return weight if isinstance(weight, Tensor) and len(weight.shape) == 2 else None
