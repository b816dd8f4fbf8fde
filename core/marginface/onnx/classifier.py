"""A run's class weights in a graph: embeddings to the cosine with each identity it was trained on.

That answers who of a closed set someone is. People outside the set have no class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.onnx.nodes import Nodes
from marginface.onnx.session import open_session
from marginface.onnx.summing import unit_length
from marginface.version import __version__

with needs("onnx"):
    import onnx
    from onnx import TensorProto, helper

TOLERANCE = 1e-4
BATCH = 2


@dataclass(frozen=True)
class ClassWeights:
    """What a head has learned of its identities.

    Args:
        weight: [classes * centers, embedding_size].
        centers: of a class; the nearest counts.
        normalized: the loss compares by cosines, which are the output; else logits are.
        scale: of logits.
        bias: of logits, [classes]; None for none.
    """

    weight: NDArray[Any]
    centers: int = 1
    normalized: bool = True
    scale: float = 1.0
    bias: NDArray[Any] | None = None

    @property
    def output(self) -> str:
        """Return what the graph calls its output."""
        return "cosines" if self.normalized else "logits"

    @property
    def count(self) -> int:
        """Return the number of classes."""
        return len(self.weight) // self.centers

    def __call__(self, embeddings: NDArray[Any]) -> NDArray[np.float64]:
        """Return the cosines or logits [batch, classes] of embeddings, in float64."""
        x, weight = np.asarray(embeddings, np.float64), self._factors()
        if self.normalized:
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
        products = (x @ weight.T).reshape(len(x), self.count, self.centers).max(axis=2)
        return np.asarray(products if self.bias is None else products + self.bias, np.float64)

    def append(self, nodes: Nodes, embeddings: str) -> onnx.ValueInfoProto:
        """Append the graph's nodes, and return the description of its output."""
        x = unit_length(nodes, embeddings) if self.normalized else embeddings
        factors = [x, nodes.constant("classes.weight", self._factors())]
        if self.centers == 1 and self.bias is not None:
            factors.append(nodes.constant("classes.bias", self.bias))
        x = nodes.node("Gemm", factors, "classes", transB=1)
        if self.centers > 1:
            shape = nodes.constant("classes.shape", [0, self.count, self.centers], np.int64)
            apart = nodes.node("Reshape", [x, shape], "classes.centers")
            over: dict[str, Any] = {"axes": [2]}
            inputs = [apart]
            if nodes.opset >= 18:
                inputs.append(nodes.constant("classes.axes", over.pop("axes"), np.int64))
            x = nodes.node("ReduceMax", inputs, "classes.best", keepdims=0, **over)
            if self.bias is not None:
                x = nodes.node("Add", [x, nodes.constant("classes.bias", self.bias)], "logits")
        nodes.nodes[-1].output[0] = self.output
        size: list[str | int | None] = ["batch", self.count]
        return helper.make_tensor_value_info(self.output, TensorProto.FLOAT, size)

    def _factors(self) -> NDArray[np.float64]:
        weight = np.asarray(self.weight, np.float64)
        if self.normalized:
            weight = weight / np.linalg.norm(weight, axis=1, keepdims=True)
            return np.asarray(weight, np.float64)
        return weight * self.scale


def build_classifier(
    classes: ClassWeights, *, opset: int, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Return the graph of the class weights alone: `embeddings` [N, D] to cosines or logits."""
    nodes = Nodes(opset, ("embeddings", classes.output))
    output = classes.append(nodes, "embeddings")
    shape: list[str | int | None] = ["batch", classes.weight.shape[1]]
    entry = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph(nodes.nodes, "classes", [entry], [output], nodes.initializers),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8 if opset <= 18 else 10,
        producer_name="marginface",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(metadata))
    return model


def check_classes(path: Path, classes: ClassWeights) -> None:
    """Raise unless ONNX Runtime's cosines or logits in `path` are those of NumPy in float64."""
    session = open_session(path, provider="cpu")
    (entry,) = session.get_inputs()
    rng = np.random.default_rng(0)
    shape = (BATCH, *entry.shape[1:])
    values: NDArray[Any] = rng.normal(size=shape).astype(np.float32)
    if entry.type == "tensor(uint8)":
        values = rng.integers(0, 256, shape, np.uint8)
    names = [each.name for each in session.get_outputs()]
    results = dict(zip(names, session.run(None, {entry.name: values}), strict=True))
    expected = classes(results.get("embeddings", values))
    size = np.maximum(1, np.abs(expected))
    difference = float(np.max(np.abs(results[classes.output] - expected) / size))
    if not difference <= TOLERANCE:
        raise MarginfaceError(
            f"ONNX Runtime's {classes.output} differ from NumPy's by {difference:.2g} (allowed "
            f"{TOLERANCE:g}); nothing was written; are the class weights finite?"
        )
