"""What an ONNX file says of itself, whoever wrote it; nothing is run, no other file is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from marginface.extras import needs
from marginface.onnx.digest import load_graph

with needs("onnx"):
    from onnx import TensorProto, helper

NUMBERS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


class Summary(NamedTuple):
    """What an ONNX file says of itself.

    Args:
        parameters: how many floating-point numbers its tensors have.
        more: who wrote it, its operator set, inputs and outputs, in words.
    """

    parameters: int
    more: dict[str, str]


def summarize(path: Path) -> Summary:
    """Summarize an ONNX file.

    Raises:
        MarginfaceError: no such file, or not an ONNX model.
    """
    model = load_graph(path)
    graph = model.graph
    tensors = {each.name: each for each in graph.initializer}
    parameters = sum(math.prod(t.dims) for t in tensors.values() if t.data_type in NUMBERS)
    inputs = [each for each in graph.input if each.name not in tensors]
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    more = {
        "written by": f"{model.producer_name} {model.producer_version}".strip() or "not stated",
        "operator set": str(opset),
        "nodes": f"{len(graph.node):,}",
        "takes": ", ".join(map(_described, inputs)),
        "gives": ", ".join(map(_described, graph.output)),
    }
    return Summary(parameters, more)


def _described(value: Any) -> str:
    """Write an input or output as its name, type and shape."""
    tensor = value.type.tensor_type
    sides = [
        str(each.dim_value) if each.HasField("dim_value") else "?" for each in tensor.shape.dim
    ]
    kind = tensor.elem_type
    known = kind != TensorProto.UNDEFINED and kind in TensorProto.DataType.values()
    kind = helper.tensor_dtype_to_np_dtype(kind) if known else "?"
    return f"{value.name} {kind} [{', '.join(sides)}]"
