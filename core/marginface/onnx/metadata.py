"""Write an ONNX file anew with other metadata: its graph and tensors stay what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from marginface.extras import needs
from marginface.onnx.digest import load_graph
from marginface.onnx.files import LARGEST, load_model, write_model

with needs("onnx"):
    import onnx
    from onnx import helper


def write_with_metadata(
    source: Path, target: Path, changes: Mapping[str, str | None], *, largest: int = LARGEST
) -> None:
    """Write the model in `source` to `target`, the same file or another, with other metadata.

    Args:
        source: the ONNX file.
        target: the file to write, with all tensors in it.
        changes: metadata by key; None removes a key.
        largest: bytes of `target`; a larger model has its tensors beside it, in NAME.onnx.data.

    Raises:
        MarginfaceError: as `load_model`.
    """
    model = load_model(source)
    set_metadata(model, changes)
    write_model(model, target, largest=largest)


def set_metadata(model: onnx.ModelProto, changes: Mapping[str, str | None]) -> None:
    """Change a model's metadata; None removes a key."""
    metadata: dict[str, str | None] = {each.key: each.value for each in model.metadata_props}
    metadata.update(changes)
    kept = {key: value for key, value in metadata.items() if value is not None}
    helper.set_model_props(model, kept)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file; raises as `load_model`."""
    return {each.key: each.value for each in load_graph(path).metadata_props}
