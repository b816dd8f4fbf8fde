"""What may stand behind a network in its graph: the mirror image's embedding, and length 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.onnx.nodes import Nodes, bodies, rename

with needs("onnx"):
    import onnx

FIRST_OPSET = 10  # whose Slice goes backwards
SHORTEST = 1e-12


def with_mirror(
    nodes: Nodes, network: Sequence[onnx.NodeProto], images: str, embeddings: str, *, width: int
) -> str:
    """Write a copy of a network that reads mirror images; return the sum of both embeddings.

    A copy rather than a batch of both: it serves graphs of one image, too, and shares the weights.

    Args:
        nodes: to append to.
        network: the nodes between images and embeddings.
        images, embeddings: what it reads and writes.
        width: the axis of `images` that is mirrored.

    Raises:
        MarginfaceError: the opset has no operator for it.
    """
    if nodes.opset < FIRST_OPSET:
        raise MarginfaceError(
            f"the model's operators are of opset {nodes.opset}, expected {FIRST_OPSET} or later to "
            "add the mirror image's embedding; convert it with onnx.version_converter"
        )
    ends = (
        nodes.constant(f"mirror.{name}", [value], np.int64)
        for name, value in (
            *(("starts", -1), ("ends", np.iinfo(np.int64).min)),
            *(("axes", width), ("steps", -1)),
        )
    )
    names = {images: nodes.node("Slice", [images, *ends], "mirror")}
    for node in network:
        if not any(name in names for name in _read(node)):
            continue  # constants, which both share
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        names |= {name: nodes.free(f"mirror.{name}") for name in node.output if name}
        copy.name = nodes.free(f"mirror.{node.name}") if node.name else ""
        rename([copy], names)
        nodes.nodes.append(copy)
    return nodes.node("Add", [embeddings, names[embeddings]], "with_mirror")


def unit_length(
    nodes: Nodes, x: str, *, axes: Sequence[int] = (1,), dtype: DTypeLike = np.float32
) -> str:
    """Write the normalisation of embeddings to length 1."""
    if nodes.opset < 18:
        norm = nodes.node("ReduceL2", [x], "norm", axes=list(axes), keepdims=1)
    else:
        norm_axes = nodes.constant("norm_axes", np.array(axes), np.int64)
        norm = nodes.node("ReduceL2", [x, norm_axes], "norm", keepdims=1)
    floor = nodes.constant("shortest", np.array([SHORTEST]), dtype)
    return nodes.node("Div", [x, nodes.node("Max", [norm, floor], "length")], "unit")


def _read(node: onnx.NodeProto) -> list[str]:
    """Return what a node and its bodies read."""
    inside = (each for body in bodies(node) for each in body.node)
    return [*node.input, *(name for each in inside for name in _read(each))]
