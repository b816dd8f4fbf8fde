"""Write an ONNX file anew with other metadata: its graph and tensors stay what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from marginface.atomic import replacing
from marginface.extras import needs
from marginface.onnx.digest import load_graph, onnx_digest

with needs("onnx"):
    from onnx import external_data_helper, helper


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file, without its tensors from other files.

    Raises:
        MarginfaceError: no such file, or not an ONNX model.
    """
    return {each.key: each.value for each in load_graph(path).metadata_props}


def write_with_metadata(source: Path, target: Path, changes: Mapping[str, str | None]) -> None:
    """Write the model in `source` to `target`, the same file or another, with other metadata.

    Args:
        source: the ONNX file; tensors that it keeps beside itself become part of the new one.
        target: the file to write.
        changes: metadata by key; None removes a key.

    Raises:
        MarginfaceError: as `onnx_digest`.
    """
    onnx_digest(source)  # it reads external data from the model's own folder only
    model = load_graph(source)
    external_data_helper.load_external_data_for_model(model, str(source.parent))
    metadata: dict[str, str | None] = {each.key: each.value for each in model.metadata_props}
    metadata.update(changes)
    kept = {key: value for key, value in metadata.items() if value is not None}
    helper.set_model_props(model, kept)
    with replacing(target) as part:
        part.write_bytes(model.SerializeToString())
