"""`marginface.convert`: weights from one project's names to another's, or to ONNX."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from marginface.api.claims import claimed_file
from marginface.api.export import export, refuse_given
from marginface.api.export_sources import (
    Network,
    read_exported_network,
    read_published,
    read_run,
)
from marginface.backbones.naming import (
    Account,
    Naming,
    find_naming,
    with_pixels,
    write_state_dict,
)
from marginface.backbones.naming.writing import as_computed_by, check_suffix
from marginface.calling import public
from marginface.checks import as_path
from marginface.errors import MarginfaceError
from marginface.formats import is_onnx
from marginface.model import METADATA_KEY, ModelSpec, Preprocessing, for_each_channel
from marginface.onnx.metadata import read_metadata


@dataclass(frozen=True)
class Converted:
    """What was written, and from what.

    Args:
        path: the file.
        model: the network, and the pixels that it takes.
        found: what a file of weights was recognised as; "" of a model.
        account: what became of each of its arrays; None of a model, or for an .onnx.
    """

    path: Path
    model: ModelSpec
    found: str = ""
    account: Account | None = None

    @property
    def pixels(self) -> str:
        """Say in words what is done to pixels before the network."""
        prepared = self.model.preprocessing
        mean, std = (
            ", ".join(f"{value:g}" for value in dict.fromkeys(each))
            for each in (prepared.mean, prepared.std)
        )
        return f"{prepared.channels} pixels, (x - {mean}) / {std}"

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
    overwrite: bool = False,
) -> Converted:
    """Read weights of any project, and write them for another, or as an ONNX file.

    Whose they are, and of which network, follows from names and shapes; what that project states of
    pixels is taken with it.

    Args:
        file: a .safetensors, .pt, .pth or .ckpt file, a run, or an .onnx of `export`.
        output: a .safetensors or .pt, or an .onnx, which is checked as `export` does.
        backbone: the network, where several fit or none is recognised.
        naming: the project whose names the weights get, one of
            `marginface.backbones.naming.NAMINGS`; canonical names for None.
        embedding_size: length of an embedding; by shapes for None.
        input_size: (height, width); for None those of `crop`, else by shapes.
        mean: subtracted from pixels (0..255), one number or three; the project's for None.
        std: divides pixels after the mean; the project's for None.
        channels: channel order of the network, "rgb" or "bgr"; the project's for None.
        crop: (top, left, height, width) that is cut out of each image.
        overwrite: replace an existing file.

    Raises:
        MarginfaceError: the file is of no network that there is, or of several; or a project
            cannot hold it.

    Where the other project orders channels, divides pixels or computes BatchNorm in another way,
    weights are changed so that its code gives the same embeddings.
    """
    source, path = as_path("file", file), as_path("output", output)
    wanted = None if naming is None else find_naming(naming)
    options = {
        "backbone": backbone,
        "embedding_size": embedding_size,
        "input_size": input_size,
        "mean": mean,
        "std": std,
        "channels": channels,
        "crop": crop,
    }
    model = source.is_dir() or is_onnx(source)
    if model:
        refuse_given(options, "goes with a file of weights; a model knows its own")
    if path.suffix.lower() == ".onnx":
        if wanted is not None:
            raise MarginfaceError(
                f"{path.name} has ONNX's own names, not {wanted.name}'s: name a .pt or "
                ".safetensors, or leave the naming out"
            )
        given: dict[str, Any] = {"model": source} if model else {"weights": source, **options}
        export(path, overwrite=overwrite, **given)
        metadata = read_metadata(path)
        spec = ModelSpec.from_json(json.loads(metadata[METADATA_KEY]))
        return Converted(path, spec, metadata.get("weights", ""))
    check_suffix(path)
    with claimed_file(path, overwrite=overwrite, inputs=[source]):
        network = _read_model(source) if model else read_published(source, options)
        spec = network.spec
        graph, arrays = spec.graph(), network.arrays
        if wanted is not None:
            as_computed_by(wanted, graph)
            spec = replace(spec, preprocessing=_as_taken_by(wanted, spec.preprocessing))
            own, theirs = (_pixels(each.preprocessing) for each in (network.spec, spec))
            arrays = with_pixels(arrays, graph, own, theirs)
        write_state_dict(path, graph, arrays, wanted)
    found = network.recognised
    if found is None:
        return Converted(path, spec)
    return Converted(path, spec, str(found), found.account)


def _read_model(source: Path) -> Network:
    return read_run(source, None) if source.is_dir() else read_exported_network(source)


def _as_taken_by(wanted: Naming, own: Preprocessing) -> Preprocessing:
    """Return the preprocessing of a project's code; what it does not state is the model's own."""
    stated = {
        name: value if name == "channels" else for_each_channel(name, value)
        for name, value in wanted.pixels().items()
    }
    return replace(own, **stated)  # type: ignore[arg-type]


def _pixels(
    preprocessing: Preprocessing,
) -> tuple[Literal["rgb", "bgr"], tuple[float, ...], tuple[float, ...]]:
    return preprocessing.channels, preprocessing.mean, preprocessing.std
