"""The way back from an export to training: the arrays of the network that it was written from.

An export folds BatchNorms into the weights beside them, and leaves out what only training needs.
These arrays stay in the file, in ONNX's `training_info`, which inference does not read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.backbones import Graph, layers
from marginface.backbones.folding import unfold_batch_norms
from marginface.backbones.graph import array_name
from marginface.backbones.layers import Layer
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.model import METADATA_KEY, ModelSpec

with needs("onnx"):
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Read = Callable[[str], Array]  # a constant of a graph, by its name
KEPT = (layers.BatchNorm, layers.RestoreTokens, layers.FourierPosition)


def keep_for_training(model: onnx.ModelProto, graph: Graph, weights: Mapping[str, Array]) -> None:
    """Put arrays that a graph folds or leaves out into the `training_info` of its model."""
    tensors = [
        numpy_helper.from_array(np.asarray(weights[name], np.float32), name)
        for name in _kept(graph)
    ]
    if tensors:
        kept = helper.make_graph([], "kept for training", [], [], tensors)
        model.training_info.add().initialization.CopyFrom(kept)


@dataclass(frozen=True)
class Exported:
    """What `marginface export` wrote a file from.

    Args:
        spec: of the network.
        loss: `loss` and `loss_parameters` that it was trained with, if they are known.
        weights: float32 arrays; those that were folded are what they were but for rounding.
    """

    spec: ModelSpec
    loss: dict[str, Any]
    weights: dict[str, Array]


def read_exported(path: Path) -> Exported:
    """Return what `marginface export` wrote a file from.

    Raises:
        MarginfaceError: it is of another program or an earlier version, or damaged.
    """
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
        metadata = {each.key: each.value for each in model.metadata_props}
        spec = ModelSpec.from_json(json.loads(metadata[METADATA_KEY]))
        graph = spec.graph()
        loss = {}
        if "loss" in metadata:
            parameters = dict(json.loads(metadata.get("loss_parameters", "{}")))
            loss = {"loss": metadata["loss"], "loss_parameters": parameters}
    except DecodeError as error:
        raise MarginfaceError(
            f"{path} is not an ONNX model, or a damaged one; export or download it again"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise MarginfaceError(
            f"{path} is no export of marginface, so what its arrays are is not known; give the "
            "weights that it was made from"
        ) from None
    constants = {each.name: each for each in model.graph.initializer}
    kept = {each.name: each for t in model.training_info for each in t.initialization.initializer}
    if missing := [name for name in _kept(graph) if name not in kept]:
        raise MarginfaceError(
            f"{path} has its BatchNorms folded into its weights, and no {missing[0]} to train on, "
            "as earlier versions exported; give the run or weights that it was made from, or "
            "export those again"
        )

    def read(name: str) -> Array:
        tensor = constants.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or tensor.external_data:
            raise _changed(path, name)
        try:
            return np.asarray(numpy_helper.to_array(tensor), np.float64)
        except (ValueError, TypeError) as error:
            raise _changed(path, name) from error

    arrays: dict[str, Array] = {}
    for layer, inputs, *_ in graph.nodes:
        if isinstance(layer, KEPT):
            names = [array_name(layer, part) for part in layer.parameters()]
            for name in names:
                constants[name] = kept[name]
                arrays[name] = read(name)
        elif reader := READERS.get(type(layer)):
            if isinstance(layer, layers.Linear) and len(graph.shape(inputs[0])) > 1:
                reader = _linear_of_tokens
            parts = reader(layer, read)
            arrays |= {array_name(layer, part): array for part, array in parts.items()}
    expected = graph.parameters()
    for name, parameter in expected.items():
        if name not in arrays or arrays[name].size != math.prod(parameter.shape):
            raise _changed(path, name)
        arrays[name] = arrays[name].reshape(parameter.shape)
    try:
        unfolded = unfold_batch_norms(graph, arrays)
    except ValueError as error:  # an offset that the network itself does not have
        raise _changed(path, "its biases") from error
    weights = {name: unfolded[name].astype(np.float32) for name in expected}
    return Exported(spec, loss, weights)


def _kept(graph: Graph) -> list[str]:
    return [
        array_name(node.layer, part)
        for node in graph.nodes
        if isinstance(node.layer, KEPT)
        for part in node.layer.parameters()
    ]


def _changed(path: Path, name: str) -> MarginfaceError:
    return MarginfaceError(
        f"{path} does not hold {name} as marginface exports it; was it changed since, or made "
        "smaller? give the export itself, or what it was made from"
    )


def _with_bias(layer: Layer, read: Read) -> dict[str, Array]:
    return {part: read(f"{layer.name}.{part}") for part in ("weight", "bias")}


def _linear_of_tokens(layer: Layer, read: Read) -> dict[str, Array]:
    parts = _plain(layer, read)
    return parts | {"weight": parts["weight"].T}


def _plain(layer: Layer, read: Read) -> dict[str, Array]:
    return {part: read(f"{layer.name}.{part}") for part in layer.parameters()}


def _own_array(layer: Layer, read: Read) -> dict[str, Array]:
    return {"": read(f"{layer.name}.array")}


def _attention(layer: Layer, read: Read) -> dict[str, Array]:
    assert isinstance(layer, layers.Attention)
    name, width = layer.name, layer.channels // layer.heads
    q, k, v = (read(f"{name}.{part}.weight").T.reshape(-1) for part in "qkv")
    return {
        "qkv.weight": np.concatenate([q * math.sqrt(width), k, v]),  # shaped with all others
        "proj.weight": read(f"{name}.proj.weight").T,
        "proj.bias": read(f"{name}.proj.bias"),
    }


# By kind of layer, what `onnx.layers` wrote of its arrays.
READERS: Mapping[type[Layer], Callable[[Layer, Read], dict[str, Array]]] = {
    layers.Conv: _with_bias,
    layers.Linear: _with_bias,
    layers.PReLU: _plain,
    layers.LayerNorm: _plain,
    layers.Position: _own_array,
    layers.Attention: _attention,
    layers.LayerScale: _own_array,
    layers.CrossCovariance: _own_array,
}
