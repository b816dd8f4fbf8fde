"""A folder with a model: weights, what they are, and a page for people; as a model hub takes it.

model.safetensors   the backbone's arrays under canonical names
config.json         the network and its preprocessing, the card, SHA-256 of the weights
README.md           the same for people, written by `readme.py`
thresholds.json     those of `marginface calibrate`, if it has been at work
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from marginface import backbones
from marginface.arrays import save_file
from marginface.cards.card import Card
from marginface.cards.readme import readme
from marginface.errors import MarginfaceError
from marginface.model import ModelSpec
from marginface.outputs import check_folder, filling
from marginface.regular import require_regular
from marginface.version import __version__

WEIGHTS, CONFIG, PAGE = "model.safetensors", "config.json", "README.md"
THRESHOLDS = "thresholds.json"
FILES = (WEIGHTS, CONFIG, PAGE, THRESHOLDS)
TYPE = "marginface"  # in config.json, where hubs have a model's type
LARGEST_CONFIG = 1 << 20  # bytes; a statement has at most 2,000 characters


@dataclass(frozen=True)
class ModelFolder:
    """A model that was read from a folder.

    Args:
        spec: its network and preprocessing.
        weights: its arrays under canonical names.
        card: what is stated about it.
        sha256: of the file of weights.
    """

    spec: ModelSpec
    weights: dict[str, NDArray[Any]]
    card: Card
    sha256: str


def is_model_folder(path: Path) -> bool:
    """Return whether a folder holds a model as `write_model_folder` writes it."""
    config = path / CONFIG
    if not (path.is_dir() and config.is_file() and config.stat().st_size <= LARGEST_CONFIG):
        return False
    try:
        values = json.loads(config.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.get("model_type") == TYPE


def write_model_folder(
    folder: Path,
    spec: ModelSpec,
    weights: Mapping[str, NDArray[Any]],
    card: Card,
    *,
    overwrite: bool = False,
) -> None:
    """Write a model's weights, its description and its page.

    Args:
        folder: to create; one that exists is replaced by `overwrite`.
        spec: the network, and what is done to images before it.
        weights: the backbone's arrays.
        card: what is stated about the model.
        overwrite: replace a folder that marginface wrote, with the thresholds in it.

    Raises:
        MarginfaceError: the weights are not the network's, or the folder cannot be written.
    """
    graph = spec.graph()
    arrays = backbones.check_weights(graph, weights)
    check_folder(folder, overwrite=overwrite)
    with filling(folder) as new:
        save_file(arrays, new / WEIGHTS)
        digest = sha256_of(new / WEIGHTS)
        parameters = graph.count_parameters()
        config = {
            "model_type": TYPE,
            "version": __version__,
            "model": spec.to_json(),
            "card": card.to_json(),
            "parameters": parameters,
            "sha256": digest,
        }
        (new / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        page = readme(folder.name, spec, card, parameters, digest)
        (new / PAGE).write_text(page, encoding="utf-8")


def read_model_folder(folder: Path) -> ModelFolder:
    """Read a model from its folder; no code of it is run, no name in it is followed.

    Raises:
        MarginfaceError: it is incomplete, damaged, or of a later version.
    """
    spec, card, digest = read_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise MarginfaceError(f"{folder} has no {WEIGHTS}; copy or download the model again")
    require_regular(path)
    found = sha256_of(path)
    if found != digest:
        raise MarginfaceError(
            f"{path} is not what {CONFIG} says: its SHA-256 begins with {found[:12]}, expected "
            f"{digest[:12]}; copy or download the model again"
        )
    arrays = backbones.check_weights(spec.graph(), backbones.read_weights(path), str(path))
    return ModelFolder(spec, arrays, card, digest)


def read_config(folder: Path) -> tuple[ModelSpec, Card, str]:
    """Read what a model folder says of itself: network, card, SHA-256 of the weights.

    Raises:
        MarginfaceError: it says nothing, or what no version writes.
    """
    path = folder / CONFIG
    require_regular(path)
    if not is_model_folder(folder):
        raise MarginfaceError(
            f"{folder} holds no model of marginface (no {CONFIG} of one); expected a folder that "
            "marginface convert wrote"
        )
    try:
        values = json.loads(path.read_bytes())
        spec, digest = ModelSpec.from_json(values["model"]), values["sha256"]
        spec.graph()  # whether there is such a network
        card = Card.from_json(values["card"])
        if not isinstance(digest, str):
            raise TypeError("no text")
    except MarginfaceError as error:
        raise MarginfaceError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise MarginfaceError(
            f"{path} is not what this version writes; convert the model again"
        ) from None
    return spec, card, digest


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
