"""The images of a run, and whether they suit its configuration."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from marginface.bars import counting
from marginface.data.joined import JoinedImages, called
from marginface.data.opening import first_size, open_sets
from marginface.data.sources import LabelledImages
from marginface.errors import MarginfaceError
from marginface.model import ALIGNED_SIZE
from marginface.runs.folder import RunFolder
from marginface.terminal import say
from marginface.training.config.keys import TrainConfig


def open_images(
    config: TrainConfig, run: RunFolder, *, resume: bool, console: Console
) -> LabelledImages:
    """Open the training sets, and say what was skipped and what several of them share."""
    recorded = resume and run.identities.is_file()
    with counting("checking images", console) as on_progress:
        images = open_sets(
            config.data,
            join_identities=config.join_identities,
            names=run.read_set_names(len(config.data)) if recorded else None,
            size=config.image_size() or first_size(config.data[0]) or ALIGNED_SIZE,
            resize=config.resize,
            skip_bad=config.skip_bad,
            rebuild_index=config.rebuild_index,
            on_progress=on_progress,
        )
    lines = [f"skipped {name}: {reason}" for name, reason in images.skipped[:10]]
    if images.skipped:
        lines.append(f"skipped {len(images.skipped)} bad images in all")
    if isinstance(images, JoinedImages):
        lines.append(_sets(images, joined=config.join_identities))
    for line in lines:
        say(console, line)
    return images


def _sets(images: JoinedImages, *, joined: bool) -> str:
    """Describe several training sets, and how identities that share a name were treated."""
    listed = ", ".join(
        f"{name} ({len(one.identities)} identities, {len(one)} images)"
        for name, one in zip(images.names, images.sets, strict=True)
    )
    text = f"{len(images.sets)} training sets: {listed}"
    for pair in images.twins():
        text += f"; {' and '.join(pair)} hold the same images: is one of them given by mistake?"
    shared = f"names in several sets: {images.in_several}"
    if joined:
        return f"{text}; {shared}, each of one identity"
    if images.in_several:
        text += f"; {shared}, of another identity in each (--join-identities takes them for one)"
    return text


def few_images(config: TrainConfig, images: LabelledImages) -> str:
    """Say how many people have too few images for balanced batches; "" for none."""
    each = config.images_per_person
    if each is None:
        return ""
    counts = np.bincount(images.labels)
    few = int(np.sum((counts > 0) & (counts < each)))
    if not few:
        return ""
    return (
        f"{few} of {np.sum(counts > 0)} people have fewer than {each} images; a batch has theirs "
        "several times"
    )


def check_identities(
    config: TrainConfig, images: LabelledImages, run: RunFolder, resume: bool
) -> None:
    """Raise if the people are others than the configuration or the run to resume expects."""
    identities, data = len(images.identities), called(config.data)
    if config.num_classes is not None and config.num_classes != identities:
        raise MarginfaceError(
            f"num_classes is {config.num_classes}, but {data} has {identities} identities; "
            "correct it, or leave it out to use what is there"
        )
    if identities < config.processes:
        raise MarginfaceError(
            f"{config.processes} processes cannot share the {identities} identities of {data}; "
            f"use at most {identities} processes"
        )
    if resume and run.identities.is_file() and not run.was_trained_on(images.identities):
        raise MarginfaceError(
            f"{data} has {identities} identities that differ from the "
            f"{len(run.read_identities())} which run {run.path} was trained on; "
            "resume with the same data"
            + (", its sets in the same order" if len(config.data) > 1 else "")
        )
