"""The changes to the core that `mutants.py core` tries: references of layers, ONNX."""

from __future__ import annotations

from papers import Mutant

REFERENCES = [
    Mutant("backbones.layers.add", "linear", "x + y", "x - y"),
    Mutant(
        "backbones.layers.attention",
        "attention",
        "/ math.sqrt(width)",
        "/ math.sqrt(self.channels)",
    ),
    Mutant("backbones.layers.attention", "attention", "powers.sum(-1,", "powers.sum(-2,"),
    Mutant(
        "backbones.layers.batch_norm",
        "batch_norm",
        "variance.reshape(across) +",
        "variance.max() +",
    ),
    Mutant("backbones.layers.batch_norm", "statistics", "count / max(count - 1, 1)", "1"),
    Mutant("backbones.layers.conv", "convolutions", "slice(j * s, j * s +", "slice(j, j +"),
    Mutant(
        "backbones.layers.conv",
        "convolutions",
        "slice(group * ins, (group + 1) * ins)",
        "slice(ins)",
    ),
    Mutant("backbones.layers.drop_path", "drop_path", "/ (1 - self.rate)", "* (1 - self.rate)"),
    Mutant("backbones.layers.dropout", "dropout", "/ (1 - self.rate)", "* (1 - self.rate)"),
    Mutant(
        "backbones.layers.flatten",
        "linear",
        "x.reshape(len(x), -1)",
        "x.swapaxes(1, 2).reshape(len(x), -1)",
    ),
    Mutant(
        "backbones.layers.layer_norm", "layer_norm", "variance + self.epsilon", "variance + 1e-5"
    ),
    Mutant("backbones.layers.channels", "cascade", "self.start : self.end", ": self.count"),
    Mutant(
        "backbones.layers.concat", "cascade", "np.concatenate(inputs", "np.concatenate(inputs[::-1]"
    ),
    Mutant(
        "backbones.layers.conv",
        "same_padding",
        "total // 2, total - total // 2",
        "total - total // 2, total // 2",
    ),
    Mutant(
        "backbones.layers.cross_covariance",
        "cross_covariance",
        "x / np.maximum(lengths",
        "x / np.maximum(1",
    ),
    Mutant("backbones.layers.cross_covariance", "cross_covariance", '* call.arrays[""][head]', ""),
    Mutant(
        "backbones.layers.fourier_position",
        "fourier_position",
        "np.concatenate([np.broadcast_to(rows, size), np.broadcast_to(columns, size)])",
        "np.concatenate([np.broadcast_to(columns, size), np.broadcast_to(rows, size)])",
    ),
    Mutant("backbones.layers.fourier_position", "fourier_position", "x + mixed +", "x - mixed +"),
    Mutant("backbones.layers.gelu", "gelu", "x / math.sqrt(2)", "x"),
    Mutant("backbones.layers.hard_sigmoid", "gates", "0.2 * x", "x / 6"),
    Mutant("backbones.layers.images", "layer_scale", "x.transpose(0, 2, 1).reshape", "x.reshape"),
    Mutant("backbones.layers.layer_norm", "layer_norm", "1 if x.ndim == 4", "2 if x.ndim == 4"),
    Mutant(
        "backbones.layers.layer_scale", "layer_scale", 'x * call.arrays[""]', 'x + call.arrays[""]'
    ),
    Mutant("backbones.layers.global_pool", "gates", "x.mean((2, 3)", "x.sum((2, 3)"),
    Mutant("backbones.layers.linear", "linear", 'y + call.arrays["bias"]', "y"),
    Mutant("backbones.layers.mask_tokens", "masking", "order[: self.left]", "order[-self.left :]"),
    Mutant("backbones.layers.multiply", "gates", "x * y", "x + y"),
    Mutant("backbones.layers.position", "position", 'x + call.arrays[""]', "x"),
    Mutant("backbones.layers.prelu", "prelu", "+ slopes * np.minimum", "- slopes * np.minimum"),
    Mutant("backbones.layers.relu", "gates", "np.maximum(x, 0)", "np.maximum(x, -1)"),
    Mutant("backbones.layers.relu6", "relu6", "np.maximum(x, 0), 6", "np.maximum(x, 0), 60"),
    Mutant("backbones.layers.restore_tokens", "masking", "y[i, place]", "y[i, rank]"),
    Mutant("backbones.layers.sigmoid", "gates", "np.exp(-x)", "np.exp(x)"),
    Mutant(
        "backbones.layers.subsample",
        "subsample",
        ":: self.stride, :: self.stride]",
        "1 :: self.stride, :: self.stride]",
    ),
    Mutant(
        "backbones.layers.tokens", "linear", "(*x.shape[:2], -1)", "(*x.shape[:2], -1)[..., ::-1]"
    ),
]
ONNX = "onnx.layers"
TABLE = [
    Mutant(ONNX, "convolutions", "group=layer.groups", "group=1"),
    Mutant(ONNX, "convolutions", "strides=[layer.stride] * 2", "strides=[1, layer.stride]"),
    Mutant(ONNX, "relu6", '"Mul", [x.name, scale]', '"Div", [x.name, scale]'),
    Mutant(ONNX, "prelu", 'slopes = arrays["weight"]', 'slopes = -arrays["weight"]'),
    Mutant(ONNX, "linear", "layer.name, transB=1", "layer.name, transB=1, beta=0.5"),
    Mutant(ONNX, "linear", '"Add", [x.name, y.name]', '"Sub", [x.name, y.name]'),
    Mutant(ONNX, "linear", '"Add", [product,', '"Sub", [product,'),
    Mutant(ONNX, "linear", "layer.name, axis=1)", "layer.name, axis=0)"),
    Mutant(ONNX, "layer_norm", '"epsilon": layer.epsilon', '"epsilon": 1e-5'),
    Mutant(ONNX, "layer_norm", "np.array(layer.epsilon)", "np.array(1e-5)"),
    Mutant(ONNX, "relu6", "for end in (0, 6)", "for end in (0, 60)"),
    Mutant(ONNX, "patches", "perm=[0, 2, 1])", "perm=[0, 1, 2])"),
    Mutant(ONNX, "position", 'arrays[""]', '-arrays[""]'),
    Mutant(ONNX, "subsample", "strides = [layer.stride] * 2", "strides = [1, layer.stride]"),
    Mutant(ONNX, "gates", '"GlobalAveragePool"', '"GlobalMaxPool"'),
    Mutant(ONNX, "gates", '"Relu"', '"Softplus"'),
    Mutant(ONNX, "gates", '"Sigmoid"', '"HardSigmoid"'),
    Mutant(ONNX, "gates", '"Mul", [x.name, y.name]', '"Add", [x.name, y.name]'),
    Mutant(ONNX, "attention", "math.sqrt(width)", "width"),
    Mutant(
        ONNX, "same_padding", "pads=[top, left, bottom, right]", "pads=[bottom, right, top, left]"
    ),
    Mutant(ONNX, "gates", '"HardSigmoid", [x.name]', '"Sigmoid", [x.name]'),
    Mutant(ONNX, "gelu", '"Gelu", [x.name]', '"Relu", [x.name]'),
    Mutant(ONNX, "gelu", "math.sqrt(2)), (", "2), ("),
    Mutant(ONNX, "layer_scale", '"Mul", [x.name, array]', '"Add", [x.name, array]'),
    Mutant(
        ONNX,
        "layer_scale",
        'f"{layer.name}.turned", perm=[0, 2, 1]',
        'f"{layer.name}.turned", perm=[0, 1, 2]',
    ),
    Mutant(ONNX, "cascade", "layer.start, layer.end", "0, layer.count"),
    Mutant(ONNX, "cascade", "for x in inputs]", "for x in inputs[::-1]]"),
    Mutant(
        ONNX,
        "fourier_position",
        "layers.Call(arrays)",
        "layers.Call({k: -v for k, v in arrays.items() if v is not None})",
    ),
    Mutant(
        ONNX,
        "cross_covariance",
        "unit_length(nodes, each, axes=[-1])",
        "unit_length(nodes, each, axes=[-2])",
    ),
    Mutant(ONNX, "layer_norm", "perm=[0, 3, 1, 2])", "perm=[0, 3, 2, 1])"),
    Mutant(ONNX, "attention", "perm=[0, 2, 1, 3]", "perm=[0, 1, 2, 3]"),
    Mutant(ONNX, "attention", "axis=-1\n    )", "axis=-2\n    )"),
    Mutant(ONNX, "attention", '"scale": 1.0', '"scale": 2.0'),
]
FOLDING = [
    Mutant("backbones.folding", "batch_norm", "bias * scale + offset", "bias + offset"),
    Mutant("backbones.folding", "batch_norm", "np.repeat(offset,", "np.tile(offset,"),
    Mutant("backbones.folding", "batch_norm", "+ layer.epsilon", "+ 1e-5"),
    Mutant("backbones.folding", "batch_norm", 'arrays["bias"] if layer.affine else 0', "0"),
]
CORE = [*REFERENCES, *TABLE, *FOLDING]
