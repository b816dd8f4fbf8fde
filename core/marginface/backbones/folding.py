"""BatchNorms folded into the weights beside them, in float64.

One behind a convolution or linear layer, or right before a linear layer, is folded. One that stands
before a padded convolution cannot be (the zero padding comes after it) and stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.backbones.graph import IMAGES, Graph
from marginface.backbones.layers import BatchNorm, Conv, Dropout, Flatten, Layer, Linear

Array = NDArray[Any]


def fold_batch_norms(
    graph: Graph, weights: Mapping[str, Array]
) -> tuple[dict[str, Array], set[int]]:
    """Return the weights with the BatchNorms folded in, and the positions of those BatchNorms."""
    arrays = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    folded = set()
    for position, (layer, *_) in enumerate(graph.nodes):
        if not isinstance(layer, BatchNorm):
            continue
        layer_arrays = {part: arrays[f"{layer.name}.{part}"] for part in layer.parameters()}
        scale, offset = scale_and_offset(layer, layer_arrays)
        before, behind = _beside(graph, position)
        if before is not None:
            weight, bias = _arrays(before, arrays)
            weight *= scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias[...] = bias * scale + offset
        elif behind is not None:
            weight, bias = _arrays(behind, arrays)
            repeats = behind.in_features // len(scale)
            bias += weight @ np.repeat(offset, repeats)
            weight *= np.repeat(scale, repeats)
        else:
            continue
        folded.add(position)
    return arrays, folded


def inference_graph(graph: Graph, weights: Mapping[str, Array]) -> tuple[Graph, dict[str, Array]]:
    """Return a graph without the BatchNorms that fold, and its weights, for inference alone."""
    arrays, folded = fold_batch_norms(graph, weights)
    lean = replace(graph, nodes=[])
    places = {IMAGES: IMAGES}
    for position, (layer, inputs, *_) in enumerate(graph.nodes):
        if position in folded:
            places[position] = places[inputs[0]]
            continue
        if isinstance(layer, Conv | Linear) and f"{layer.name}.bias" in arrays:
            layer = replace(layer, bias=True)
        places[position] = lean.append(layer, *(places[source] for source in inputs))
    return lean, {name: arrays[name] for name in lean.parameters()}


def unfold_batch_norms(graph: Graph, folded: Mapping[str, Array]) -> dict[str, Array]:
    """Undo `fold_batch_norms`; the arrays of the BatchNorms must be there, and each bias.

    What a BatchNorm multiplied by 0 is gone, and stays 0.
    """
    arrays = {name: np.asarray(array, np.float64) for name, array in folded.items()}
    for position in reversed(range(len(graph.nodes))):
        layer = graph.nodes[position].layer
        if not isinstance(layer, BatchNorm):
            continue
        layer_arrays = {part: arrays[f"{layer.name}.{part}"] for part in layer.parameters()}
        scale, offset = scale_and_offset(layer, layer_arrays)
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
        before, behind = _beside(graph, position)
        if before is not None:
            weight, bias = _arrays(before, arrays)
            weight *= inverse.reshape(-1, *[1] * (weight.ndim - 1))
            bias[...] = (bias - offset) * inverse
        elif behind is not None:
            weight, bias = _arrays(behind, arrays)
            repeats = behind.in_features // len(scale)
            weight *= np.repeat(inverse, repeats)
            bias -= weight @ np.repeat(offset, repeats)
    return arrays


def scale_and_offset(layer: BatchNorm, arrays: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return the factor and offset that a BatchNorm applies in inference."""
    weight = arrays["weight"] if layer.affine else np.ones(layer.channels)
    offset = arrays["bias"] if layer.affine else 0
    scale = weight / np.sqrt(arrays["running_var"] + layer.epsilon)
    return scale, offset - arrays["running_mean"] * scale


def _arrays(layer: Layer, weights: dict[str, Array]) -> tuple[Array, Array]:
    """Return copies of a layer's weight and bias that are now in `weights`; no bias is zeros."""
    weight = weights[f"{layer.name}.weight"].copy()
    bias = weights.get(f"{layer.name}.bias", np.zeros(len(weight))).copy()
    weights |= {f"{layer.name}.weight": weight, f"{layer.name}.bias": bias}
    return weight, bias


def _beside(graph: Graph, position: int) -> tuple[Conv | Linear | None, Linear | None]:
    """Return the layer before or behind a BatchNorm that it is folded into; Nones for neither."""
    (source,) = graph.nodes[position].inputs
    before = graph.nodes[source].layer if source != IMAGES else None
    if isinstance(before, Conv | Linear) and _only_reader(graph, source) == position:
        return before, None
    return None, _linear_behind(graph, position)


def _only_reader(graph: Graph, position: int) -> int | None:
    """Return the position of the one node that reads `position`, if it is one."""
    readers = [i for i, node in enumerate(graph.nodes) if position in node.inputs]
    return readers[0] if len(readers) == 1 else None


def _linear_behind(graph: Graph, position: int) -> Linear | None:
    """Return the linear layer that alone reads `position`, through flattening and dropout."""
    reader = _only_reader(graph, position)
    while reader is not None and isinstance(graph.nodes[reader].layer, Flatten | Dropout):
        reader = _only_reader(graph, reader)
    layer = graph.nodes[reader].layer if reader is not None else None
    return layer if isinstance(layer, Linear) else None
