"""What a new run starts from: the weights of a run or file, and its first class weights."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface import backbones
from marginface.arrays import ArraySource
from marginface.backbones import Graph
from marginface.backbones.naming import Naming, as_configured, in_epsilon_of, namings_of
from marginface.backbones.naming.nearest import likeness, nearest
from marginface.backbones.weights import check_finite, fitting, read_file
from marginface.cards import is_model_folder, read_model_folder
from marginface.cards.hub import fetched
from marginface.data.sources import LabelledImages
from marginface.errors import MarginfaceError
from marginface.formats import is_onnx
from marginface.model import ModelSpec, for_each_channel
from marginface.runs.weights import Trained, in_own_epsilon, open_trained
from marginface.text import listed
from marginface.training.config.files import read_config_file
from marginface.training.config.keys import TrainConfig
from marginface.training.config.values import as_typed
from marginface.training.first_heads import head_of_run
from marginface.training.published_heads import head_of_checkpoint

Arrays = dict[str, NDArray[Any]]
# Keys whose other value in the run that weights are of is worth a word.
COMPARED = ("loss", "scale", "margin", "mean", "std", "channels", "crop", "resize")


@dataclass(frozen=True)
class Start:
    """The first arrays of a run, in the place of random ones.

    Args:
        arrays: by canonical name.
        lines: what was taken, what is new and what was left, for the user.
    """

    arrays: Mapping[str, ArraySource] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    def digest(self) -> str:
        """Return a checksum of the backbone, which all processes must share."""
        value = 0
        for name, array in self.arrays.items():
            if name.startswith("backbone."):
                value = zlib.crc32(np.ascontiguousarray(array).tobytes(), value)
        return f"{value:08x}"


def read_start(config: TrainConfig, graph: Graph, images: LabelledImages) -> Start:
    """Read what `init` and `init_head` ask for, but for centers, which need the network.

    Args:
        config: of the run.
        graph: its network.
        images: what it is trained on.

    Raises:
        MarginfaceError: the weights cannot be read or do not fit; the message says what differs.
    """
    if config.init is None:
        return Start()
    init = fetched(config.init)
    trained = open_trained(init)
    weights, recorded, namings = _read(init, trained, graph, with_head=config.init_head == "run")
    source = f"{config.init}" + (f" (step {trained.checkpoint.step})" if trained else "")
    if config.init_partial:
        taken, lines = _what_fits(graph, weights, source)
    else:
        taken, lines = _whole(graph, weights, source), []
    taken = in_epsilon_of(graph, taken, namings)
    arrays: dict[str, ArraySource] = {f"backbone.{name}": each for name, each in taken.items()}
    check_finite(taken, source)
    total = len(graph.parameters())
    share = "all" if len(taken) == total else f"{len(taken)} of"
    lines.insert(0, f"starting from {source}: {share} {total} arrays of {graph.name} taken")
    if namings:
        lines.append(f"named as by {' or '.join(map(str, namings))}")
    people = len(images.identities)
    if config.init_head == "run":
        head, told = _head(config, init, trained, recorded, images)
        arrays |= head
        lines += told
    elif config.init_head == "random":
        left = ""
        if trained and "head.weight" in trained.checkpoint.state:
            left = "; the run's are left (--init-head run takes those of the same people)"
        lines.append(f"class weights of {people} identities are new{left}")
    if differs := _differences(config, recorded):
        where = f"what {namings[0].name} states" if namings else f"in {config.init}"
        lines.append(f"other than {where}: {differs}")
    if trained:
        lines.append("the optimizer starts anew: the run's momentum and step count are left")
    return Start(arrays, tuple(lines))


def _head(
    config: TrainConfig,
    init: Path,
    trained: Trained | None,
    recorded: Mapping[str, Any],
    images: LabelledImages,
) -> tuple[dict[str, ArraySource], list[str]]:
    """Return the arrays of the head that lies beside the backbone, and what to say of them."""
    if trained is not None:
        return head_of_run(config, trained, recorded, images)
    found = head_of_checkpoint(config, init, images)
    if found is None:
        raise MarginfaceError(
            f"init_head run needs a run as --init, for its class weights and their people; "
            f"{init} is a file of weights: take --init-head centers or random"
        )
    weight, told = found
    return {"head.weight": weight}, [told]


def _whole(graph: Graph, weights: Arrays, source: str) -> Arrays:
    """Return the weights of the whole network, or raise and name the network that they are of."""
    try:
        return backbones.check_weights(graph, weights, source)
    except MarginfaceError as error:
        asked = likeness(graph, weights, source)
        if not asked.others:
            raise  # names and shapes are not what is wrong
        near = nearest(weights, graph)
        if near is None and asked.count:
            raise MarginfaceError(
                f"{source} does not fit {asked}: is the file whole? --init-partial takes what fits"
            ) from error
        if near is None:
            raise MarginfaceError(
                f"{source} does not fit {asked}, and no network that marginface has is near it; "
                "what names do its arrays have?"
            ) from error
        advice = f"the nearest is {near}: give {near.options(graph.input_size)}"
        if asked.count:
            advice += ", or --init-partial to take what fits"
        raise MarginfaceError(f"{source} does not fit {asked}; {advice}") from error


def _what_fits(graph: Graph, weights: Arrays, source: str) -> tuple[Arrays, list[str]]:
    """Return the weights that fit, and what to say of the others."""
    taken, others, left = fitting(graph, weights, source)
    if not taken:
        _whole(graph, weights, source)  # which says what it is
    lines = []
    if others:
        shapes = graph.parameters()
        named = [
            f"{name} {list(shapes[name].shape)}" + (f" (there {list(shape)})" if shape else "")
            for name, shape in others.items()
        ]
        lines.append(f"new: {listed(named)}")
    if unused := [name for name in left if name not in others]:
        lines.append(f"left: {listed(unused)}")
    return taken, lines


def _read(
    init: Path, trained: Trained | None, graph: Graph, *, with_head: bool
) -> tuple[Arrays, dict[str, Any], tuple[Naming, ...]]:
    """Return the weights, and the settings they were trained with, as far as they are known.

    Those of a file of another project are what it states; its naming is returned, too. Unless its
    class weights are wanted, a warning says what of it is left.
    """
    if trained is not None:
        run = trained.run
        known = run is not None and run.config.is_file()
        return trained.backbone(), read_config_file(run.config) if run and known else {}, ()
    if is_onnx(init):
        from marginface.onnx.training import read_exported

        exported = read_exported(init)
        loss = exported.loss
        recorded = loss | loss.get("loss_parameters", {}) | _pixels(exported.spec)
        return in_own_epsilon(exported.spec, exported.weights), recorded, ()
    if is_model_folder(init):
        model = read_model_folder(init)
        about = {"loss": model.card.loss} if model.card.loss else {}
        recorded = about | dict(model.card.loss_parameters) | _pixels(model.spec)
        return in_own_epsilon(model.spec, model.weights), recorded, ()
    weights = read_file(init) if with_head else backbones.read_weights(init)
    namings = as_configured(namings_of(graph, weights), init)
    stated: dict[str, Any] = dict(namings[0].pixels().items()) if namings else {}
    for other in namings[1:]:
        stated = dict(stated.items() & other.pixels().items())
    for name in ("mean", "std"):
        if name in stated:
            stated[name] = for_each_channel(name, stated[name])
    return weights, stated, namings


def _pixels(spec: ModelSpec) -> dict[str, Any]:
    preprocessing = asdict(spec.preprocessing)
    return preprocessing | {"resize": preprocessing["resize"] or False}


def _differences(config: TrainConfig, recorded: Mapping[str, Any]) -> str:
    """List the keys that mean another training or other pixels than the weights had."""
    pairs = [(n, getattr(config, n), recorded[n]) for n in COMPARED if n in recorded]
    return ", ".join(
        f"{name} {_typed(now)} (was {_typed(before)})"
        for name, now, before in pairs
        if now != before
    )


def _typed(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else as_typed(value)
