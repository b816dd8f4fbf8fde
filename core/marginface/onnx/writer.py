"""The ONNX graph of a backbone, written from its neutral description: one graph, any framework.

A BatchNorm behind a convolution or linear layer, or right before a linear layer, is folded into
its weights in float64. One that stands before a padded convolution cannot be (the zero padding
comes after it) and stays as Mul and Add.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface import __version__, backbones
from marginface.backbones.graph import IMAGES, Graph
from marginface.backbones.layers import (
    Add,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    Linear,
    PReLU,
)
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.model import METADATA_KEY, ModelSpec

with needs("onnx"):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
OPSETS = range(13, 24)
IR_VERSION = 8  # old enough for every ONNX Runtime since 1.12


def build_onnx(
    spec: ModelSpec,
    weights: Mapping[str, Array],
    *,
    opset: int = 17,
    preprocess: bool = False,
    normalize: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Return the ONNX contract: `images` [N, 3, H, W] float32 to `embeddings` [N, D] float32.

    Args:
        spec: the model; its JSON is in the metadata under "marginface".
        weights: the backbone's, under canonical names.
        opset: 13 to 23.
        preprocess: `images` are uint8 [N, H, W, 3], in the model's channel order; mean and std
            are in the graph.
        normalize: embeddings have length 1.
        metadata: more key-value pairs, such as loss and source framework.

    Raises:
        MarginfaceError: weights that do not fit, an opset out of range, or metadata under a name
            that is written anyway.
    """
    if opset not in OPSETS:
        raise MarginfaceError(
            f"opset must be between {OPSETS[0]} and {OPSETS[-1]}, got {opset}; 17 suits most"
        )
    graph = spec.graph()
    writer = _Writer(graph, backbones.check_weights(graph, weights), opset)
    height, width = spec.input_size
    x, kind = "images", TensorProto.FLOAT
    shape: list[str | int | None] = ["batch", 3, height, width]
    if preprocess:
        kind, shape = TensorProto.UINT8, ["batch", height, width, 3]
        x = writer.scaling(x, spec.preprocessing.mean, spec.preprocessing.std)
    x = writer.backbone(x)
    if normalize:
        x = writer.unit_length(x)
    writer.nodes[-1].output[0] = "embeddings"
    model = helper.make_model(
        helper.make_graph(
            writer.nodes,
            spec.backbone,
            [helper.make_tensor_value_info("images", kind, shape)],
            [
                helper.make_tensor_value_info(
                    "embeddings", TensorProto.FLOAT, ["batch", spec.embedding_size]
                )
            ],
            writer.initializers,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION if opset <= 18 else 10,
        producer_name="marginface",
        producer_version=__version__,
    )
    own = {
        METADATA_KEY: json.dumps(spec.to_json()),
        "backbone": spec.backbone,
        "embedding_size": str(spec.embedding_size),
        "preprocess": str(preprocess).lower(),
        "normalize": str(normalize).lower(),
        "version": __version__,
    }
    given = dict(metadata or {})
    if taken := [name for name in given if name in own]:
        raise MarginfaceError(
            f"metadata '{taken[0]}' is what the export itself writes; choose another name"
        )
    helper.set_model_props(model, given | own)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Writer:
    """Appends ONNX nodes; a value is known by its tensor name."""

    def __init__(self, graph: Graph, weights: Mapping[str, Array], opset: int) -> None:
        self.graph, self.opset = graph, opset
        self.weights = {name: np.asarray(a, np.float64) for name, a in weights.items()}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: Array, dtype: Any = np.float32) -> str:
        array = np.ascontiguousarray(values, dtype)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def scaling(self, x: str, mean: Sequence[float], std: Sequence[float]) -> str:
        x = self.node("Cast", [x], "pixels", to=TensorProto.FLOAT)
        x = self.node("Transpose", [x], "channels_first", perm=[0, 3, 1, 2])
        x = self.node("Sub", [x, self.constant("mean", np.reshape(mean, (3, 1, 1)))], "centred")
        factor = self.constant("inverse_std", 1 / np.reshape(std, (3, 1, 1)).astype(np.float64))
        return self.node("Mul", [x, factor], "scaled")

    def unit_length(self, x: str) -> str:
        if self.opset < 18:
            norm = self.node("ReduceL2", [x], "norm", axes=[1], keepdims=1)
        else:
            axes = self.constant("norm_axes", np.array([1]), np.int64)
            norm = self.node("ReduceL2", [x, axes], "norm", keepdims=1)
        floor = self.constant("shortest", np.array(1e-12))
        return self.node("Div", [x, self.node("Max", [norm, floor], "length")], "unit")

    def backbone(self, images: str) -> str:
        values = {IMAGES: images}
        folded: dict[int, tuple[Array, Array]] = {}  # Linear position: BatchNorm before it
        for position, (layer, inputs, _) in enumerate(self.graph.nodes):
            if position in values:
                continue  # a BatchNorm that its producer took in
            sources = [values[source] for source in inputs]
            match layer:
                case Conv() | Linear():
                    values[position] = self._weighted(position, sources[0], folded.get(position))
                    norm = self._only_consumer(position, BatchNorm)
                    if norm is not None:
                        values[norm] = values[position]
                case BatchNorm():
                    linear = self._linear_behind(position)
                    if linear is not None:
                        folded[linear] = self._affine(layer)
                        values[position] = sources[0]
                    else:
                        values[position] = self._scale_and_offset(layer, sources[0])
                case PReLU():
                    shape = (-1, *[1] * (len(self.graph.shape(position)) - 1))
                    slope = self.weights[f"{layer.name}.weight"].reshape(shape)
                    slopes = self.constant(f"{layer.name}.weight", slope)
                    values[position] = self.node("PRelu", [sources[0], slopes], layer.name)
                case Add():
                    values[position] = self.node("Add", sources, f"add_{position}")
                case Flatten():
                    values[position] = self.node("Flatten", sources, f"flatten_{position}", axis=1)
                case Dropout():
                    values[position] = sources[0]
        return values[len(self.graph.nodes) - 1]

    def _weighted(self, position: int, x: str, before: tuple[Array, Array] | None) -> str:
        """Write a Conv or Gemm with the BatchNorms around it in its weights."""
        layer = self.graph.nodes[position].layer
        assert isinstance(layer, Conv | Linear)
        weight = self.weights[f"{layer.name}.weight"]
        bias = self.weights.get(f"{layer.name}.bias", np.zeros(len(weight)))
        if before is not None and isinstance(layer, Linear):
            scale, offset = (
                np.repeat(v, layer.in_features // layer.unflattened[0]) for v in before
            )
            weight, bias = weight * scale, bias + weight @ offset
        norm = self._only_consumer(position, BatchNorm)
        if norm is not None:
            scale, offset = self._affine(self.graph.nodes[norm].layer)
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias = bias * scale + offset
        inputs = [
            x,
            self.constant(f"{layer.name}.weight", weight),
            self.constant(f"{layer.name}.bias", bias),
        ]
        if isinstance(layer, Linear):
            return self.node("Gemm", inputs, layer.name, transB=1)
        return self.node(
            "Conv",
            inputs,
            layer.name,
            kernel_shape=layer.kernel,
            strides=[layer.stride] * 2,
            pads=[layer.padding] * 4,
            group=layer.groups,
        )

    def _scale_and_offset(self, layer: BatchNorm, x: str) -> str:
        scale, offset = (v.reshape(-1, 1, 1) for v in self._affine(layer))
        x = self.node("Mul", [x, self.constant(f"{layer.name}.scale", scale)], f"{layer.name}.mul")
        return self.node("Add", [x, self.constant(f"{layer.name}.offset", offset)], layer.name)

    def _affine(self, layer: Any) -> tuple[Array, Array]:
        """Return a BatchNorm in inference as (scale, offset)."""
        weight, bias, mean, variance = (
            self.weights[f"{layer.name}.{part}"]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / np.sqrt(variance + layer.epsilon)
        return scale, bias - mean * scale

    def _only_consumer(self, position: int, *kinds: type) -> int | None:
        """Return the position of the one node that reads `position`, if it is of these kinds."""
        readers = [i for i, node in enumerate(self.graph.nodes) if position in node.inputs]
        if len(readers) == 1 and isinstance(self.graph.nodes[readers[0]].layer, kinds):
            return readers[0]
        return None

    def _linear_behind(self, position: int) -> int | None:
        """Return the linear layer that alone reads `position` through flattening and dropout."""
        while (onward := self._only_consumer(position, Flatten, Dropout)) is not None:
            position = onward
        return self._only_consumer(position, Linear)
