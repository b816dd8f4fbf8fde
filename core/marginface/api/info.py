"""What a model is: of a run, a model folder, an ONNX file of any program, a file of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from marginface.api.export_sources import Network, preprocessing_of, read_run
from marginface.api.weights_info import facts_of_weights
from marginface.backbones.naming import as_configured, candidates
from marginface.backbones.weights import read_file
from marginface.calling import public
from marginface.cards import Card, is_model_folder, read_model_folder
from marginface.cards.folder import sha256_of
from marginface.cards.hub import fetched
from marginface.cards.readme import NOT_STATED, facts_of
from marginface.checks import as_path
from marginface.embeddings.embedder import (
    MODELS,
    recorded_card,
    recorded_preprocessing,
    recorded_spec,
)
from marginface.errors import MarginfaceError
from marginface.formats import is_onnx
from marginface.model import METADATA_KEY, PREPROCESSING_KEY, ModelSpec, Preprocessing


@dataclass(frozen=True)
class ModelInfo:
    """What a model is, and what is stated about it.

    Args:
        path: of the model.
        kind: "run", "folder", "onnx", "foreign onnx" for one of another program, or "weights".
        input_size: (height, width) in pixels; None where it embeds no faces.
        embedding_size: length of an embedding, or None.
        preprocessing: what is done to pixels before the network; None for weights whose project
            is unknown, or one of several that differ in it.
        parameters: how many it has.
        sha256: of its file; None for a run.
        spec: the network and its preprocessing; None for one of another program, and for weights
            of which one of the two is not known.
        card: what is stated about it.
        more: what else its file says, by name.
        candidates: of weights: the networks that fit; those after the first are the same but for
            training, or as likely.
        namings: of weights: the projects whose names they have.
    """

    path: Path
    kind: str
    input_size: tuple[int, int] | None
    embedding_size: int | None
    preprocessing: Preprocessing | None
    parameters: int
    sha256: str | None = None
    spec: ModelSpec | None = None
    card: Card = field(default_factory=Card)
    more: Mapping[str, str] = field(default_factory=dict)
    candidates: tuple[str, ...] = ()
    namings: tuple[str, ...] = ()

    @property
    def backbone(self) -> str | None:
        """The network's name; None for one of another program, and where several fit."""
        if self.spec is not None:
            return self.spec.backbone
        return self.candidates[0] if len(self.candidates) == 1 else None

    def rows(self) -> dict[str, str]:
        """Return all of it in words, by what it says."""
        rows = {
            "kind": self.kind,
            **facts_of(
                self.backbone or NOT_STATED,
                self.parameters,
                self.input_size,
                self.preprocessing,
                self.embedding_size,
                self.card,
            ),
            **{f"figure: {name}": f"{value:g}" for name, value in self.card.figures.items()},
            **self.more,
        }
        if self.sha256:
            rows["SHA-256"] = self.sha256
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "backbone": self.backbone,
            "input_size": list(self.input_size) if self.input_size else None,
            "embedding_size": self.embedding_size,
            "preprocessing": self.preprocessing.to_json() if self.preprocessing else None,
            "parameters": self.parameters,
            "sha256": self.sha256,
            "card": self.card.to_json(),
            "more": dict(self.more),
            "candidates": list(self.candidates),
            "namings": list(self.namings),
        }


@public
def info(path: str | Path) -> ModelInfo:
    """Return what a model is: its network, preprocessing, loss, and what is stated about it.

    Args:
        path: a run folder, a model folder, an .onnx of any program, or a file of weights of any
            project.

    Raises:
        MarginfaceError: there is no such model, it is damaged, or weights are of no network that
            there is.
    """
    place = fetched(as_path("path", path))
    if not place.exists() or MODELS.get(place) is None:
        return _of_weights(place)
    if is_model_folder(place):
        model = read_model_folder(place)
        network = Network(model.spec, model.weights)
        return _of_network(place, "folder", network, card=model.card, sha256=model.sha256)
    if place.is_dir():
        network = read_run(place, None)
        return _of_network(
            place, "run", network, card=_card_of(network.about_the_loss()), more=_of_run(network)
        )
    if not is_onnx(place) and place.suffix.lower() != ".onnx":
        raise MarginfaceError(f"{place} is a model of a format of your own, which says no more")
    return _of_onnx(place)


def _of_network(place: Path, kind: str, network: Network, **stated: Any) -> ModelInfo:
    spec = network.spec
    return ModelInfo(
        place,
        kind,
        spec.input_size,
        spec.embedding_size,
        spec.preprocessing,
        spec.graph().count_parameters(),
        spec=spec,
        **stated,
    )


def _card_of(about: Mapping[str, str]) -> Card:
    """Return the card of what an export's metadata, or a run, says of the loss."""
    if "loss" not in about:
        return Card()
    try:
        return Card(about["loss"], json.loads(about.get("loss_parameters", "{}")))
    except (ValueError, RecursionError):
        return Card(about["loss"])


def _of_run(network: Network) -> dict[str, str]:
    config = network.config
    return {name: str(config[name]) for name in ("backend", "data", "epochs") if config.get(name)}


def _of_weights(place: Path) -> ModelInfo:
    arrays = read_file(place)
    found = [
        replace(each, namings=as_configured(each.namings, place))
        for each in candidates(arrays, source=str(place))
    ]
    graph, stated = found[0].graph, set[Preprocessing | None]()
    with suppress(MarginfaceError):  # projects with these names differ, as `facts_of_weights` tells
        stated = {preprocessing_of(each) if each.namings else None for each in found}
    steps = stated.pop() if len(stated) == 1 else None
    return ModelInfo(
        place,
        "weights",
        graph.input_size,
        graph.embedding_size,
        steps,
        graph.count_parameters(),
        sha256_of(place),
        spec=ModelSpec.of(graph, steps) if steps and len(found) == 1 else None,
        more=facts_of_weights(place, arrays, found),
        candidates=tuple(name for each in found for name in (each.graph.name, *each.alike)),
        namings=tuple(dict.fromkeys(naming.name for each in found for naming in each.namings)),
    )


def _of_onnx(place: Path) -> ModelInfo:
    from marginface.onnx.digest import onnx_digest
    from marginface.onnx.metadata import read_metadata
    from marginface.onnx.session import OnnxSession
    from marginface.onnx.summary import summarize

    metadata, summary, digest = read_metadata(place), summarize(place), sha256_of(place)
    steps, more = recorded_preprocessing(place, metadata), dict(summary.more)
    card = recorded_card(place, metadata)
    if METADATA_KEY in metadata and not card.loss:
        about = _card_of(metadata)
        card = replace(card, loss=about.loss, loss_parameters=about.loss_parameters)
    if METADATA_KEY in metadata:
        spec = recorded_spec(place, metadata)
        size, length, kind = spec.input_size, spec.embedding_size, "onnx"
    else:
        spec, size, length, kind = None, None, None, "foreign onnx"
        try:
            onnx_digest(place)  # first: it does not follow what the file names anywhere
            session = OnnxSession(place)
            size, length = session.input_size, session.embedding_size
        except MarginfaceError as error:
            more["embeds faces"] = f"no: {str(error).partition(';')[0]}"
        if size and PREPROCESSING_KEY not in metadata:
            more["preprocessing stated"] = "no; the field's usual one is taken"
    return ModelInfo(place, kind, size, length, steps, summary.parameters, digest, spec, card, more)
