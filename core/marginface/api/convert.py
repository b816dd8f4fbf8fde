"""`marginface.convert`: weights from one project's names to another's, to a folder or to ONNX."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from marginface.api.claims import claimed_file, claimed_folder
from marginface.api.export import claimed_model, keep_thresholds, refuse_given, write_network
from marginface.api.export_sources import Network, WeightsOptions, read_model, read_published
from marginface.backbones.naming import (
    Account,
    Naming,
    find_naming,
    with_pixels,
    write_state_dict,
)
from marginface.backbones.naming.writing import SUFFIXES, as_computed_by, check_suffix
from marginface.calling import public
from marginface.cards import Card, write_model_folder
from marginface.cards.folder import CONFIG, THRESHOLDS
from marginface.cards.hub import fetched
from marginface.cards.readme import in_words
from marginface.checks import as_path
from marginface.errors import MarginfaceError
from marginface.formats import is_onnx
from marginface.model import ModelSpec, Preprocessing, for_each_channel
from marginface.onnx.export import check_path
from marginface.onnx.files import replacing_model


@dataclass(frozen=True)
class Converted:
    """What was written, and from what.

    Args:
        path: the file or folder.
        model: the network, and the pixels that it takes.
        found: what a file of weights was recognised as; "" of a model.
        account: what became of each of its arrays; None of a model.
    """

    path: Path
    model: ModelSpec
    found: str = ""
    account: Account | None = None

    @property
    def pixels(self) -> str:
        """Say in words what is done to pixels before the network."""
        return in_words(self.model.preprocessing)

    def __str__(self) -> str:
        """Say what was found, what became of it, what it takes and what was written."""
        lines = [f"found: {self.found}"] if self.found else []
        lines += [f"arrays: {self.account}"] if self.account else []
        return "\n".join([*lines, f"takes: {self.pixels}", f"wrote {self.path}"])


@public
def convert(
    file: str | Path,
    output: str | Path,
    *,
    backbone: str | None = None,
    naming: str | None = None,
    embedding_size: int | None = None,
    input_size: str | Sequence[int] | None = None,
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: str | Sequence[int] | None = None,
    training_data: str | None = None,
    figures: Mapping[str, float] | None = None,
    licence: str | None = None,
    origin: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Read weights of any project; write them for another, as a model folder or an ONNX file.

    Whose they are, and of which network, follows from names and shapes; what that project states of
    pixels is taken with it.

    Args:
        file: a .safetensors, .pt, .pth or .ckpt file, a run, a model folder, or an .onnx of
            `export`.
        output: a .safetensors or .pt; an .onnx, which is checked as `export` does; or a model
            folder, whose name has no suffix.
        backbone: the network, where several fit or none is recognised.
        naming: the project whose names the weights get, one of
            `marginface.backbones.naming.NAMINGS`; canonical names for None.
        embedding_size: length of an embedding; by shapes for None.
        input_size: (height, width); for None those of `crop`, else by shapes.
        mean: subtracted from pixels (0..255), one number or three; the project's for None.
        std: divides pixels after the mean; the project's for None.
        channels: channel order of the network, "rgb" or "bgr"; the project's for None.
        crop: (top, left, height, width) that is cut out of each image.
        training_data: of a model folder or an .onnx: what it was trained on, in words.
        figures: likewise: what was measured, by name.
        licence: likewise: of the weights.
        origin: likewise: where the weights come from; whose names they have for None.
        overwrite: replace an existing file, or a folder that marginface wrote.

    Raises:
        MarginfaceError: the file is of no network that there is, or of several; or a project
            cannot hold it.

    Where the other project orders channels, divides pixels or computes BatchNorm in another way,
    weights are changed so that its code gives the same embeddings; under canonical names they are
    for RGB, mean and std 127.5.
    """
    source, path = fetched(as_path("file", file)), as_path("output", output)
    wanted = None if naming is None else find_naming(naming)
    told = WeightsOptions(backbone, embedding_size, input_size, mean, std, channels, crop)
    model = source.is_dir() or is_onnx(source)
    if model:
        refuse_given(vars(told), "goes with a file of weights; a model knows its own")
    read = partial(read_model, source) if model else partial(read_published, source, told)
    stated = {
        "training_data": training_data,
        "figures": figures,
        "licence": licence,
        "origin": origin,
    }
    is_file = path.suffix.lower() in (".onnx", *SUFFIXES)
    if not is_file and (path.is_dir() or not path.suffix):
        refuse_given({"as": naming}, "goes with a .safetensors or .pt; a folder has our own names")
        with claimed_folder(path, CONFIG, overwrite=overwrite, inputs=[source]):
            network = read()
            card = _card_of(network, stated)
            calibrated = (path / THRESHOLDS).is_file()
            write_model_folder(path, network.spec, network.arrays, card, overwrite=overwrite)
        if calibrated:
            warnings.warn(
                f"{path} is replaced: the thresholds in it went with the weights that they were "
                "measured on; calibrate it again: marginface calibrate",
                stacklevel=3,
            )
        return _converted(path, network.spec, network)
    if path.suffix.lower() == ".onnx":
        if wanted is not None:
            raise MarginfaceError(
                f"{path.name} has ONNX's own names, not {wanted.name}'s: name a .pt or "
                ".safetensors, or leave the naming out"
            )
        check_path(path)
        with claimed_model(path, source, overwrite=overwrite):
            network = read()
            network = replace(network, card=_card_of(network, stated))
            with replacing_model(path) as part:
                write_network(part, network, source, network.origin())
                if model:
                    keep_thresholds(source, part)
        return _converted(path, network.spec, network)
    check_suffix(path)
    refuse_given(stated, "goes with a model folder, an --output without suffix, or an .onnx")
    with claimed_file(path, overwrite=overwrite, inputs=[source]):
        network = read()
        graph = network.spec.graph()
        taken = _as_taken_by(wanted, network.spec.preprocessing)
        epsilon = None if wanted is None else as_computed_by(wanted, graph).batch_norm_epsilon
        spec = replace(network.spec, preprocessing=taken, batch_norm_epsilon=epsilon)
        own, theirs = (_pixels(each.preprocessing) for each in (network.spec, spec))
        arrays = with_pixels(network.arrays, graph, own, theirs)
        write_state_dict(path, graph, arrays, wanted)
    return _converted(path, spec, network)


def _converted(path: Path, spec: ModelSpec, network: Network) -> Converted:
    found = network.recognised
    return (
        Converted(path, spec) if found is None else Converted(path, spec, str(found), found.account)
    )


def _card_of(network: Network, stated: Mapping[str, Any]) -> Card:
    """Return the card with what is stated, and what else is known of the network."""
    found, known = network.recognised, dict[str, Any]()
    about = network.about_the_loss()
    if about:
        known = {"loss": about["loss"], "loss_parameters": json.loads(about["loss_parameters"])}
    if found is not None and len(found.namings) == 1:
        known["origin"] = f"named as by {found.namings[0].name}"
    given = {name: value for name, value in stated.items() if value is not None}
    return replace(network.card, **(known | given))


def _as_taken_by(wanted: Naming | None, own: Preprocessing) -> Preprocessing:
    """Return the preprocessing of a project's code; what it does not state is the model's own.

    Canonical names say nothing of pixels: their weights are for the usual ones.
    """
    if wanted is None:
        usual = Preprocessing()
        return replace(own, mean=usual.mean, std=usual.std, channels=usual.channels)
    stated = {
        name: value if name == "channels" else for_each_channel(name, value)
        for name, value in wanted.pixels().items()
    }
    # Types of values by name are lost in a dictionary; Preprocessing checks them.
    return replace(own, **stated)  # type: ignore[arg-type]


def _pixels(
    preprocessing: Preprocessing,
) -> tuple[Literal["rgb", "bgr"], tuple[float, ...], tuple[float, ...]]:
    return preprocessing.channels, preprocessing.mean, preprocessing.std
