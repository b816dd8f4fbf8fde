"""The table of layers in ONNX, in inference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marginface.backbones import layers
from marginface.backbones.folding import fold_batch_norms, scale_and_offset
from marginface.backbones.graph import IMAGES, Graph, array_name
from marginface.backbones.layers import Layer, Shape
from marginface.onnx.nodes import Nodes
from marginface.onnx.summing import unit_length

Arrays = Mapping[str, NDArray[Any]]


class Value(NamedTuple):
    """A layer's input: the tensor's name, and its shape without batch."""

    name: str
    shape: Shape


def write_backbone(graph: Graph, weights: Arrays, nodes: Nodes, images: str) -> str:
    """Append a backbone's nodes behind `images`; return the embeddings' name."""
    arrays, folded = fold_batch_norms(graph, weights)
    names = {IMAGES: images}
    for position, (layer, inputs, *_) in enumerate(graph.nodes):
        sources = [Value(names[source], graph.shape(source)) for source in inputs]
        if position in folded:
            names[position] = sources[0].name
        else:
            parts = {*layer.parameters(), "bias"}  # a folded BatchNorm may have added one
            layer_arrays = {part: arrays.get(array_name(layer, part)) for part in parts}
            names[position] = LAYERS[type(layer)](layer, nodes, layer_arrays, *sources)
    return names[len(graph.nodes) - 1]


def conv(layer: layers.Conv, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Conv."""
    (top, bottom), (left, right) = layer.pads(*x.shape[1:])
    return nodes.node(
        "Conv",
        [x.name, *_weight_and_bias(layer, nodes, arrays)],
        layer.name,
        kernel_shape=layer.kernel,
        strides=[layer.stride] * 2,
        pads=[top, left, bottom, right],
        group=layer.groups,
    )


def batch_norm(layer: layers.BatchNorm, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a BatchNorm that could not be folded, as Mul and Add."""
    scale, offset = (
        nodes.constant(f"{layer.name}.{part}", values.reshape(-1, *[1] * (len(x.shape) - 1)))
        for part, values in zip(("scale", "offset"), scale_and_offset(layer, arrays), strict=True)
    )
    scaled = nodes.node("Mul", [x.name, scale], f"{layer.name}.mul")
    return nodes.node("Add", [scaled, offset], layer.name)


def prelu(layer: layers.PReLU, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a PRelu."""
    slopes = arrays["weight"].reshape(-1, *[1] * (len(x.shape) - 1))
    return nodes.node("PRelu", [x.name, nodes.constant(f"{layer.name}.weight", slopes)], layer.name)


def linear(layer: layers.Linear, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Gemm; of tokens, which are of one rank more, MatMul and Add."""
    if len(x.shape) == 1:
        inputs = [x.name, *_weight_and_bias(layer, nodes, arrays)]
        return nodes.node("Gemm", inputs, layer.name, transB=1)
    return _product(nodes, layer.name, x.name, arrays["weight"], arrays["bias"])


def add(layer: layers.Add, nodes: Nodes, arrays: Arrays, x: Value, y: Value) -> str:
    """Write an Add."""
    return nodes.node("Add", [x.name, y.name], layer.name)


def flatten(layer: layers.Flatten, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Flatten."""
    return nodes.node("Flatten", [x.name], layer.name, axis=1)


def layer_norm(layer: layers.LayerNorm, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Normalise along the channels, which images have in front."""
    if len(x.shape) < 3:
        return _layer_norm(layer, nodes, arrays, x.name)
    last = nodes.node("Transpose", [x.name], f"{layer.name}.last", perm=[0, 2, 3, 1])
    y = _layer_norm(layer, nodes, arrays, last)
    return nodes.node("Transpose", [y], f"{layer.name}.first", perm=[0, 3, 1, 2])


def _layer_norm(layer: layers.LayerNorm, nodes: Nodes, arrays: Arrays, x: str) -> str:
    """Write a LayerNormalization; before opset 17, which brought it, what it consists of."""
    scale, offset = (
        nodes.constant(f"{layer.name}.{part}", arrays[part]) for part in ("weight", "bias")
    )
    if nodes.opset >= 17:
        inputs, settings = [x, scale, offset], {"axis": -1, "epsilon": layer.epsilon}
        return nodes.node("LayerNormalization", inputs, layer.name, **settings)

    def node(op: str, *inputs: str, **attributes: Any) -> str:
        return nodes.node(op, inputs, f"{layer.name}.{len(nodes.nodes)}", **attributes)

    over = {"axes": [-1], "keepdims": 1}
    centred = node("Sub", x, node("ReduceMean", x, **over))
    variance = node("ReduceMean", node("Mul", centred, centred), **over)
    epsilon = nodes.constant(f"{layer.name}.epsilon", np.array(layer.epsilon))
    unit = node("Div", centred, node("Sqrt", node("Add", variance, epsilon)))
    return nodes.node("Add", [node("Mul", unit, scale), offset], layer.name)


def relu6(layer: layers.ReLU6, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Clip."""
    ends = [nodes.constant(f"{layer.name}.{end:d}", np.array(end)) for end in (0, 6)]
    return nodes.node("Clip", [x.name, *ends], layer.name)


def tokens(layer: layers.Tokens, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Reshape and a Transpose."""
    rows = _reshaped(nodes, f"{layer.name}.rows", x.name, [0, x.shape[0], -1])
    return nodes.node("Transpose", [rows], layer.name, perm=[0, 2, 1])


def position(layer: layers.Position, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write an Add of the array."""
    array = nodes.constant(f"{layer.name}.array", arrays[""])
    return nodes.node("Add", [x.name, array], layer.name)


def attention(layer: layers.Attention, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write an Attention; before opset 23, which brought it, products."""
    (count, channels), heads, name = x.shape, layer.heads, layer.name
    width, parts = channels // heads, []
    for part, weight in zip("qkv", np.split(arrays["qkv.weight"], 3), strict=True):
        if part == "q":
            weight = weight / math.sqrt(width)
        by = nodes.constant(f"{name}.{part}.weight", weight.T)
        parts.append(nodes.node("MatMul", [x.name, by], f"{name}.{part}"))
    if nodes.opset >= 23:
        settings = {"q_num_heads": heads, "kv_num_heads": heads, "scale": 1.0}  # q has its scale
        joined = nodes.node("Attention", parts, f"{name}.joined", **settings)
    else:
        joined = _attention_in_products(nodes, name, parts, [0, count, heads, width])
    return _product(nodes, f"{name}.proj", joined, arrays["proj.weight"], arrays["proj.bias"])


def _attention_in_products(nodes: Nodes, name: str, parts: list[str], shape: list[int]) -> str:
    """Write softmax(q k^T) v, each head for itself; shape is [batch, tokens, heads, width]."""
    turned = []
    for part, rows in zip("qkv", parts, strict=True):
        heads_apart = _reshaped(nodes, f"{name}.{part}.heads", rows, shape)
        order = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]  # k for the product q k^T
        turned.append(nodes.node("Transpose", [heads_apart], f"{name}.{part}.turned", perm=order))
    q, k, v = turned
    shares = nodes.node(
        "Softmax", [nodes.node("MatMul", [q, k], f"{name}.products")], f"{name}.shares", axis=-1
    )
    mixed = nodes.node("MatMul", [shares, v], f"{name}.mixed")
    back = nodes.node("Transpose", [mixed], f"{name}.mixed.turned", perm=[0, 2, 1, 3])
    batch, count, heads, width = shape
    return _reshaped(nodes, f"{name}.joined", back, [batch, count, heads * width])


def subsample(layer: layers.Subsample, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a MaxPool of single pixels."""
    strides = [layer.stride] * 2
    return nodes.node("MaxPool", [x.name], layer.name, kernel_shape=[1, 1], strides=strides)


def global_pool(layer: layers.GlobalPool, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a GlobalAveragePool."""
    return nodes.node("GlobalAveragePool", [x.name], layer.name)


def relu(layer: layers.ReLU, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Relu."""
    return nodes.node("Relu", [x.name], layer.name)


def gelu(layer: layers.GELU, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Gelu; before opset 20, which brought it, what it consists of."""
    if nodes.opset >= 20:
        return nodes.node("Gelu", [x.name], layer.name)
    root, one, half = (
        nodes.constant(f"{layer.name}.{name}", np.array(value))
        for name, value in (("root", math.sqrt(2)), ("one", 1), ("half", 0.5))
    )
    scaled = nodes.node("Div", [x.name, root], f"{layer.name}.scaled")
    erf = nodes.node("Erf", [scaled], f"{layer.name}.erf")
    doubled = nodes.node("Add", [erf, one], f"{layer.name}.doubled")
    product = nodes.node("Mul", [x.name, doubled], f"{layer.name}.product")
    return nodes.node("Mul", [product, half], layer.name)  # an order that ONNX Runtime fuses


def layer_scale(layer: layers.LayerScale, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Mul by the array."""
    array = nodes.constant(f"{layer.name}.array", arrays[""])
    return nodes.node("Mul", [x.name, array], layer.name)


def images(layer: layers.Images, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Transpose and a Reshape."""
    turned = nodes.node("Transpose", [x.name], f"{layer.name}.turned", perm=[0, 2, 1])
    shape = [0, x.shape[1], layer.height, layer.width]
    return _reshaped(nodes, layer.name, turned, shape)


def channels(layer: layers.Channels, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Slice."""
    return _slice(nodes, layer.name, x.name, layer.start, layer.end)


def concat(layer: layers.Concat, nodes: Nodes, arrays: Arrays, *inputs: Value) -> str:
    """Write a Concat."""
    return nodes.node("Concat", [x.name for x in inputs], layer.name, axis=1)


def fourier_position(layer: layers.FourierPosition, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write an Add of what the waves are mixed to, which is the same for every image."""
    array = layer.forward(layers.Call(arrays), np.zeros((1, *x.shape)))
    return nodes.node("Add", [x.name, nodes.constant(f"{layer.name}.array", array)], layer.name)


def cross_covariance(layer: layers.CrossCovariance, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write it in products of channels."""
    (count, _), name, channels = x.shape, layer.name, layer.channels
    turned = nodes.node("Transpose", [x.name], f"{name}.turned", perm=[0, 2, 1])
    parts = []
    for i, part in enumerate("qkv"):
        rows = _slice(nodes, f"{name}.{part}", turned, i * channels, (i + 1) * channels)
        shape = [0, layer.heads, channels // layer.heads, count]
        parts.append(_reshaped(nodes, f"{name}.{part}.heads", rows, shape))
    q, k, v = parts
    q, k = (unit_length(nodes, each, axes=[-1]) for each in (q, k))
    k = nodes.node("Transpose", [k], f"{name}.k.turned", perm=[0, 1, 3, 2])
    temperature = nodes.constant(f"{name}.array", arrays[""])
    products = nodes.node("MatMul", [q, k], f"{name}.cosines")
    products = nodes.node("Mul", [products, temperature], f"{name}.products")
    shares = nodes.node("Softmax", [products], f"{name}.shares", axis=-1)
    mixed = nodes.node("MatMul", [shares, v], f"{name}.mixed")
    joined = _reshaped(nodes, f"{name}.joined", mixed, [0, channels, count])
    return nodes.node("Transpose", [joined], name, perm=[0, 2, 1])


def sigmoid(layer: layers.Sigmoid, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a Sigmoid."""
    return nodes.node("Sigmoid", [x.name], layer.name)


def hard_sigmoid(layer: layers.HardSigmoid, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write a HardSigmoid."""
    return nodes.node("HardSigmoid", [x.name], layer.name)  # 0.2 x + 0.5, if nothing else is said


def multiply(layer: layers.Multiply, nodes: Nodes, arrays: Arrays, x: Value, y: Value) -> str:
    """Write a Mul."""
    return nodes.node("Mul", [x.name, y.name], layer.name)


def same(layer: Layer, nodes: Nodes, arrays: Arrays, x: Value) -> str:
    """Write nothing: the layer is for training."""
    return x.name


def _weight_and_bias(
    layer: layers.Conv | layers.Linear, nodes: Nodes, arrays: Arrays
) -> tuple[str, str]:
    """Return the names of a weight and a bias, which is zero where there is none."""
    weight, bias = arrays["weight"], arrays["bias"]
    bias = np.zeros(len(weight)) if bias is None else bias
    return (
        nodes.constant(f"{layer.name}.weight", weight),
        nodes.constant(f"{layer.name}.bias", bias),
    )


def _product(
    nodes: Nodes, name: str, x: str, weight: NDArray[Any], bias: NDArray[Any] | None
) -> str:
    """Write x W^T + b on the last axis."""
    factors = [x, nodes.constant(f"{name}.weight", weight.T)]
    if bias is None:
        return nodes.node("MatMul", factors, name)
    product = nodes.node("MatMul", factors, f"{name}.product")
    return nodes.node("Add", [product, nodes.constant(f"{name}.bias", bias)], name)


def _slice(nodes: Nodes, name: str, x: str, start: int, end: int) -> str:
    """Write a Slice of the first axis behind the batch."""
    bounds = [
        nodes.constant(f"{name}.{bound}", [value], np.int64)
        for bound, value in (("start", start), ("end", end), ("axis", 1))
    ]
    return nodes.node("Slice", [x, *bounds], name)


def _reshaped(nodes: Nodes, name: str, x: str, shape: list[int]) -> str:
    """Write a Reshape; 0 keeps the batch."""
    return nodes.node("Reshape", [x, nodes.constant(f"{name}.shape", shape, np.int64)], name)


LAYERS: Mapping[type[Layer], Callable[..., str]] = {
    layers.Conv: conv,
    layers.BatchNorm: batch_norm,
    layers.PReLU: prelu,
    layers.Linear: linear,
    layers.Add: add,
    layers.Multiply: multiply,
    layers.Flatten: flatten,
    layers.Dropout: same,
    layers.LayerNorm: layer_norm,
    layers.ReLU: relu,
    layers.ReLU6: relu6,
    layers.Sigmoid: sigmoid,
    layers.Subsample: subsample,
    layers.GlobalPool: global_pool,
    layers.Tokens: tokens,
    layers.Position: position,
    layers.Attention: attention,
    layers.DropPath: same,
    layers.MaskTokens: same,
    layers.RestoreTokens: same,
    layers.HardSigmoid: hard_sigmoid,
    layers.GELU: gelu,
    layers.LayerScale: layer_scale,
    layers.Images: images,
    layers.Channels: channels,
    layers.Concat: concat,
    layers.FourierPosition: fourier_position,
    layers.CrossCovariance: cross_covariance,
}
