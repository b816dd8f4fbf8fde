"""The ONNX graph of a model, written from its neutral description: one graph, any framework."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface import backbones
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.model import FLIP_KEY, METADATA_KEY, ModelSpec
from marginface.onnx.classifier import ClassWeights
from marginface.onnx.fast import Processor, make_fast
from marginface.onnx.files import fits
from marginface.onnx.layers import write_backbone
from marginface.onnx.nodes import Nodes
from marginface.onnx.summing import unit_length, with_mirror
from marginface.onnx.training import keep_for_training
from marginface.version import __version__

with needs("onnx"):
    import onnx
    from onnx import TensorProto, helper

Array = NDArray[Any]
OPSETS = range(13, 24)
IR_VERSION = 8  # old enough for every ONNX Runtime since 1.12


def build_onnx(
    spec: ModelSpec,
    weights: Mapping[str, Array],
    *,
    opset: int = 17,
    preprocess: bool = False,
    flip: bool = False,
    normalize: bool = False,
    processor: Processor = "any",
    classes: ClassWeights | None = None,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Return the ONNX contract: `images` [N, 3, H, W] float32 to `embeddings` [N, D] float32.

    Args:
        spec: the model; its JSON is in the metadata under "marginface".
        weights: the backbone's, under canonical names.
        opset: 13 to 23.
        preprocess: `images` are uint8 [N, H, W, 3], in the model's channel order; mean and std
            are in the graph.
        flip: the embedding of the mirror image is added to the image's.
        normalize: embeddings have length 1, that sum's where there is one.
        processor: what the graph is to be fast on.
        classes: whose cosines or logits are a second output.
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
    checked, nodes = backbones.check_weights(graph, weights), Nodes(opset)
    height, width = spec.input_size
    x, kind = "images", TensorProto.FLOAT
    shape: list[str | int | None] = ["batch", 3, height, width]
    if preprocess:
        kind, shape = TensorProto.UINT8, ["batch", height, width, 3]
        x = _scaling(nodes, x, spec.preprocessing.mean, spec.preprocessing.std)
    network, images = len(nodes.nodes), x
    x = write_backbone(graph, checked, nodes, x)
    if flip:
        x = with_mirror(nodes, nodes.nodes[network:], images, x, width=3)
    if normalize:
        x = unit_length(nodes, x)
    nodes.nodes[-1].output[0] = "embeddings"
    size: list[str | int | None] = ["batch", spec.embedding_size]
    outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, size)]
    if classes is not None:
        outputs.append(classes.append(nodes, "embeddings"))
    model = helper.make_model(
        helper.make_graph(
            nodes.nodes,
            spec.backbone,
            [helper.make_tensor_value_info("images", kind, shape)],
            outputs,
            nodes.initializers,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION if opset <= 18 else 10,
        producer_name="marginface",
        producer_version=__version__,
    )
    make_fast(model, processor)
    keep_for_training(model, graph, checked)
    standard = {
        METADATA_KEY: json.dumps(spec.to_json()),
        "backbone": spec.backbone,
        "embedding_size": str(spec.embedding_size),
        "preprocess": str(preprocess).lower(),
        "normalize": str(normalize).lower(),
        "version": __version__,
    }
    if flip:
        standard[FLIP_KEY] = "true"
    extra = dict(metadata or {})
    if taken := [name for name in extra if name in standard]:
        raise MarginfaceError(
            f"metadata '{taken[0]}' is what the export itself writes; choose another name"
        )
    helper.set_model_props(model, extra | standard)
    if fits(model):  # the checker takes no larger one
        onnx.checker.check_model(model, full_check=True)
    return model


def _scaling(nodes: Nodes, x: str, mean: Sequence[float], std: Sequence[float]) -> str:
    """Write the scaling of pixels to the network's input."""
    x = nodes.node("Cast", [x], "pixels", to=TensorProto.FLOAT)
    x = nodes.node("Transpose", [x], "channels_first", perm=[0, 3, 1, 2])
    x = nodes.node("Sub", [x, nodes.constant("mean", np.reshape(mean, (3, 1, 1)))], "centred")
    factor = nodes.constant("inverse_std", 1 / np.reshape(std, (3, 1, 1)).astype(np.float64))
    return nodes.node("Mul", [x, factor], "scaled")
