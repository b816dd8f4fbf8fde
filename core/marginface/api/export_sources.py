"""What `export` writes from: a run, a model folder, an ONNX file, weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from marginface.backbones.naming import Recognised, as_configured, recognise
from marginface.backbones.weights import read_file
from marginface.backend import MODULES, installed_backends
from marginface.cards import Card, is_model_folder, read_model_folder
from marginface.cards.card import CARD_KEY
from marginface.cards.folder import read_config
from marginface.cards.hub import fetched
from marginface.checks import as_path
from marginface.embeddings.embedder import recorded_card, recorded_preprocessing
from marginface.errors import MarginfaceError
from marginface.formats import is_onnx
from marginface.model import (
    CROP,
    METADATA_KEY,
    ModelSpec,
    Preprocessing,
    for_each_channel,
    whole_numbers,
)
from marginface.onnx.metadata import read_metadata
from marginface.onnx.session import check_file as check_model
from marginface.onnx.training import read_exported
from marginface.runs.folder import RunFolder, load_run

Kind = Literal["run", "folder", "exported", "foreign", "weights"]


@dataclass(frozen=True)
class WeightsOptions:
    """What `export` and `convert` are told of a file of weights; None for what is recognised."""

    backbone: str | None = None
    embedding_size: int | None = None
    input_size: str | Sequence[int] | None = None
    mean: str | float | Sequence[float] | None = None
    std: str | float | Sequence[float] | None = None
    channels: str | None = None
    crop: str | Sequence[int] | None = None


@dataclass(frozen=True)
class Network:
    """A network that can be written.

    Args:
        spec: what it is.
        arrays: its weights.
        config: how it was trained, as far as that is known: its loss, the backend.
        recognised: of a file of weights: whose names it has.
        card: of a model folder or an .onnx: what is stated about it.
    """

    spec: ModelSpec
    arrays: Mapping[str, NDArray[Any]]
    config: Mapping[str, Any] = field(default_factory=dict)
    recognised: Recognised | None = None
    card: Card = field(default_factory=Card)

    def about_the_loss(self) -> dict[str, str]:
        """Return what the metadata says of the loss."""
        config = self.config
        if "loss" not in config:
            return {}
        shorthands = {
            name: config[name] for name in ("scale", "margin") if config.get(name) is not None
        }
        parameters = shorthands | config.get("loss_parameters", {})
        return {"loss": config["loss"], "loss_parameters": json.dumps(parameters)}

    def origin(self) -> dict[str, str]:
        """Return what the metadata says of the loss and the file of weights, and the card."""
        found, stated = self.recognised, self.card.to_json()
        about = {} if found is None else {"weights": f"{found}; {found.account}"}
        card = {CARD_KEY: json.dumps(stated)} if stated else {}
        return self.about_the_loss() | about | card

    def checking_backend(self) -> str | None:
        """Return the backend it was trained in if that is installed: all of them write one file."""
        named = self.config.get("backend")
        return named if named not in MODULES or named in installed_backends() else None


def find_source(
    model: str | Path | None, run: str | Path | None, weights: str | Path | None
) -> tuple[Kind, Path]:
    """Return the one source that is given, and its kind.

    Raises:
        MarginfaceError: none or several are given, or no such file can be read.
    """
    if sum(each is not None for each in (model, run, weights)) != 1:
        raise MarginfaceError("export takes either --model RUN or --weights FILE")
    if weights is not None:
        return "weights", fetched(as_path("weights", weights))
    path = fetched(as_path("model", run if model is None else model))
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        check_model(path)
    if is_model_folder(path):
        return "folder", path
    if not path.is_file():
        return "run", path
    if not is_onnx(path):
        raise MarginfaceError(
            f"{path} is no run folder and no ONNX file; --weights takes files of weights"
        )
    return ("exported" if METADATA_KEY in read_metadata(path) else "foreign"), path


def read_model(path: Path, checkpoint: str | int | None = None) -> Network:
    """Read the network of a run, a model folder or a file that `export` wrote."""
    if path.is_file():
        return read_exported_network(path)
    return read_folder(path) if is_model_folder(path) else read_run(path, checkpoint)


def read_run(path: Path, checkpoint: str | int | None) -> Network:
    """Read the network of a run."""
    run = load_run(path, checkpoint)
    return Network(run.spec, run.weights, run.config)


def read_folder(path: Path) -> Network:
    """Read the network of a model folder."""
    model = read_model_folder(path)
    about = {"loss": model.card.loss, "loss_parameters": dict(model.card.loss_parameters)}
    known = about if model.card.loss else {}
    return Network(model.spec, model.weights, known, card=model.card)


def read_exported_network(path: Path) -> Network:
    """Read the network of a file that `export` wrote, with the preprocessing that it has now."""
    exported = read_exported(path)
    metadata = read_metadata(path)
    spec = replace(exported.spec, preprocessing=recorded_preprocessing(path, metadata))
    return Network(spec, exported.weights, exported.loss, card=recorded_card(path, metadata))


def read_published(path: Path, told: WeightsOptions) -> Network:
    """Read a file of weights: of which network they are, and what it takes, as it is recognised.

    Raises:
        MarginfaceError: they are of no network that there is, of another than is told, or of
            several.
    """
    if told.backbone is not None and not isinstance(told.backbone, str):
        raise MarginfaceError(f"--backbone must be the name of a network, got {told.backbone!r}")
    size: tuple[int, ...] | None = None
    cut = None if told.crop is None else whole_numbers("--crop", told.crop, CROP)
    if told.input_size is not None:
        size = whole_numbers("--input-size", told.input_size, CROP[2:])
    elif cut is not None:
        size = cut[2:]
    own = _own_model(path)
    found = recognise(
        read_file(path),
        own.backbone if told.backbone is None and own else told.backbone,
        embedding_size=told.embedding_size,
        input_size=(size[0], size[1]) if size else own.input_size if own else None,
        source=str(path),
    )
    given = {
        "mean": None if told.mean is None else for_each_channel("--mean", told.mean),
        "std": None if told.std is None else for_each_channel("--std", told.std),
        "channels": told.channels,
    }
    if own is not None:
        chosen = {
            name: value for name, value in (given | {"crop": cut}).items() if value is not None
        }
        # Types of values by name are lost in a dictionary; Preprocessing checks them, as below.
        prepared: Preprocessing = replace(own.preprocessing, **chosen)  # type: ignore[arg-type]
        graph = found.graph
        spec = replace(
            own,
            backbone=graph.name,
            input_size=graph.input_size,
            preprocessing=prepared,
            batch_norm_epsilon=None,  # for which `read_file` gives the weights
        )
        return Network(spec, found.arrays)
    found = replace(found, namings=as_configured(found.namings, path))
    spec = ModelSpec.of(found.graph, preprocessing_of(found, crop=cut, **given))
    return Network(spec, found.arrays, recognised=found)


def preprocessing_of(found: Recognised, *, crop: Any = None, **given: Any) -> Preprocessing:
    """Return what is done to pixels: as given, else as the project states, else as usual.

    Raises:
        MarginfaceError: as `Recognised.pixels`.
    """
    pixels = found.pixels(**given)
    for name in ("mean", "std"):
        if name in pixels:
            pixels[name] = for_each_channel(name, pixels[name])
    return Preprocessing(**pixels, crop=crop)


def _own_model(path: Path) -> ModelSpec | None:
    """Return what a run, a model folder or an export says of itself; None for other files."""
    if is_model_folder(path):
        return read_config(path)[0]
    if is_onnx(path):
        return read_exported_network(path).spec
    return load_run(path, None).spec if RunFolder(path).model.is_file() else None
