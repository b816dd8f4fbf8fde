"""Write an ONNX file anew with other metadata: its graph and tensors stay what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from marginface.extras import needs
from marginface.onnx.files import load_model, write_model

with needs("onnx"):
    from onnx import helper


def write_with_metadata(source: Path, target: Path, changes: Mapping[str, str | None]) -> None:
    """Write the model in `source` to `target`, the same file or another, with other metadata.

    Args:
        source: the ONNX file.
        target: the file to write; it has all tensors in it, but for models above 2 GB, whose lie
            beside it in NAME.onnx.data.
        changes: metadata by key; None removes a key.

    Raises:
        MarginfaceError: as `load_model`.
    """
    model = load_model(source)
    metadata: dict[str, str | None] = {each.key: each.value for each in model.metadata_props}
    metadata.update(changes)
    kept = {key: value for key, value in metadata.items() if value is not None}
    helper.set_model_props(model, kept)
    write_model(model, target)
