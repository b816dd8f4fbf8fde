"""The changes to layers that `mutants.py` tries: at least one for each kind."""

from __future__ import annotations

from papers import Mutant

TABLE = "backbones.layers"

LAYERS = [
    Mutant(
        (TABLE, "backbones.conv"),
        "patches",
        ("else layer.padding,", "strides = [1, stride, stride, 1]"),
        ("else layer.padding + 1,", "strides = [1, stride - 1, stride - 1, 1]"),
    ),
    Mutant(
        (TABLE, "backbones.conv"),
        "convolutions",
        ("stride=layer.stride,", "+ turned"),
        ("stride=1,", "- turned"),
    ),
    Mutant(
        (TABLE, "backbones.conv"),
        "patches",
        ("bias=layer.bias,\n        )", "if layer.bias else y"),
        ("bias=False,\n        )", "if layer.groups > 1 else y"),
    ),
    Mutant(
        (TABLE, "backbones.batch_norm"),
        "batch_norm",
        ("eps=layer.epsilon, momentum", "rsqrt(variance + epsilon) * scale"),
        ("eps=1e-5, momentum", "rsqrt(variance + 1e-5) * scale"),
    ),
    Mutant(
        (TABLE, "backbones.batch_norm"),
        "statistics",
        ("momentum=layer.momentum", "momentum = layer.momentum"),
        ("momentum=1 - layer.momentum", "momentum = 1 - layer.momentum"),
    ),
    Mutant(
        TABLE,
        "prelu",
        ("_PReLU(layer.channels)", "(slope - 1) * below"),
        ("nn.LeakyReLU(0.25)", "slope * below"),
    ),
    Mutant(
        TABLE,
        "prelu",
        ("else below.mul_(x)", "reduce_sum(below * x"),
        ("else below", "reduce_sum(upstream * x"),
    ),
    Mutant(
        TABLE,
        "linear",
        ("bias=layer.bias)\n\n\nclass LayerNorm", 'call.value("bias") if layer.bias else y'),
        ("bias=False)\n\n\nclass LayerNorm", "0 if layer.bias else y"),
    ),
    Mutant(TABLE, "linear", "return x + y", "return x - y"),
    Mutant(
        TABLE,
        "linear",
        ("torch.flatten(x, 1)", "tf.reshape(x, [-1, x.shape[1:].num_elements()])"),
        (
            "torch.flatten(x.flip(1), 1)",
            "tf.reshape(tf.reverse(x, [1]), [-1, x.shape[1:].num_elements()])",
        ),
    ),
    Mutant(
        TABLE,
        "dropout",
        ("noise >= layers.threshold(rate)", "noise >= layers.threshold(rate)"),
        ("noise < layers.threshold(rate)", "noise < layers.threshold(rate)"),
    ),
    Mutant(TABLE, "dropout", "/ (1 - rate)", "* (1 - rate)"),
    Mutant(
        TABLE,
        "dropout",
        ("_kept(noise, layer.rate, x).reshape(x.shape)", "[0, 2, 3, 1]"),
        ("_kept(noise.flip(1), layer.rate, x).reshape(x.shape)", "[0, 1, 2, 3]"),
    ),
    Mutant(
        TABLE,
        "layer_norm",
        ("super().__init__(layer.channels, eps=layer.epsilon)", "rsqrt(variance + layer.epsilon)"),
        ("super().__init__(layer.channels)", "rsqrt(variance + 1e-5)"),
    ),
    Mutant(
        TABLE,
        "relu6",
        ("nn.functional.relu6(x)", "tf.nn.relu6(x)"),
        ("nn.functional.relu(x)", "tf.nn.relu(x)"),
    ),
    Mutant(
        TABLE,
        "patches",
        ("x.flatten(2).transpose(1, 2)", "x.shape[1] * x.shape[2], x.shape[3]]"),
        ("x.transpose(2, 3).flatten(2).transpose(1, 2)", "x.shape[3], x.shape[1] * x.shape[2]]"),
    ),
    Mutant(TABLE, "position", ("return x + array", 'x + call.value("")'), ("return x", "x + 0")),
    Mutant(
        TABLE,
        "attention",
        ("3, self.heads, -1).permute(2, 0, 3, 1, 4)", "3, heads, width]"),
        ("self.heads, 3, -1).permute(3, 0, 2, 1, 4)", "heads, 3, width]"),
    ),
    Mutant(
        TABLE,
        "attention",
        ("scaled_dot_product_attention(q, k, v)", "/ width**0.5"),
        ("scaled_dot_product_attention(q, k, v, scale=1.0)", "/ 1"),
    ),
    Mutant(
        TABLE,
        "drop_path",
        ("_kept(noise, layer.rate, x).view", "_kept(call.noise, layer.rate, x), [-1,"),
        (
            "_kept(noise.flip(0), layer.rate, x).view",
            "_kept(tf.reverse(call.noise, [0]), layer.rate, x), [-1,",
        ),
    ),
    Mutant(
        TABLE,
        "masking",
        ("[:, : layer.left]", "[:, : layer.left]"),
        ("[:, -layer.left :]", "[:, -layer.left :]"),
    ),
    Mutant(
        TABLE,
        "masking",
        ("dim=1).argsort(1))", "tf.argsort(tf.argsort(call.noise, 1, stable=True), 1)"),
        ("dim=1))", "tf.argsort(call.noise, 1, stable=True)"),
    ),
    Mutant(
        (TABLE, "backbones.batch_norm"),
        "batch_norm",
        ("affine=layer.affine", "if layer.affine:"),
        ("affine=True", "if True:"),
    ),
    Mutant(
        TABLE,
        "subsample",
        (":: layer.stride, :: layer.stride]", ":: layer.stride, :: layer.stride]"),
        ("1 :: layer.stride, :: layer.stride]", "1 :: layer.stride, :: layer.stride]"),
    ),
    Mutant(
        TABLE,
        "gates",
        ("x.mean((2, 3), keepdim=True)", "tf.reduce_mean(x, [1, 2], keepdims=True)"),
        ("x.amax((2, 3), keepdim=True)", "tf.reduce_max(x, [1, 2], keepdims=True)"),
    ),
    Mutant(TABLE, "gates", ("torch.relu(x)", "tf.nn.relu(x)"), ("x", "tf.nn.elu(x)")),
    Mutant(TABLE, "gates", ("torch.sigmoid(x)", "tf.sigmoid(x)"), ("torch.tanh(x)", "tf.tanh(x)")),
    Mutant(TABLE, "gates", "return x * y", "return x + y"),
    Mutant(
        (TABLE, "backbones.conv"),
        "same_padding",
        ("(left, right, top, bottom)", 'p == "same" or ('),
        ("(right, left, bottom, top)", 'p == "same" and ('),
    ),
    Mutant(TABLE, "gates", "0.2 * x + 0.5", "x / 6 + 0.5"),
    Mutant(
        TABLE,
        "gelu",
        ("gelu(x)", "upstream * (below + x * density)"),
        ('gelu(x, approximate="tanh")', "upstream * below"),
    ),
    Mutant(
        TABLE,
        "layer_scale",
        ("x * array", 'x * call.value("")'),
        ("x + array", 'x + call.value("")'),
    ),
    Mutant(
        TABLE,
        "layer_scale",
        ("x.transpose(1, 2).view", "[-1, layer.height, layer.width, x.shape[2]]"),
        ("x.reshape", "[-1, layer.width, layer.height, x.shape[2]]"),
    ),
    Mutant(TABLE, "cascade", "layer.start : layer.end", ": layer.count"),
    Mutant(
        TABLE,
        "cascade",
        ("torch.cat(inputs, 1)", "tf.concat(inputs, -1)"),
        ("torch.cat(inputs[::-1], 1)", "tf.concat(inputs[::-1], -1)"),
    ),
    Mutant(
        TABLE,
        "fourier_position",
        ("x + mixed", "transpose(1, 2, 0)"),
        ("x - mixed", "transpose(2, 1, 0).reshape(layer.height, layer.width, -1)"),
    ),
    Mutant(
        TABLE,
        "cross_covariance",
        ("dim=-1, eps", "each, -1, LEAST"),
        ("dim=-2, eps", "each, -2, LEAST"),
    ),
    Mutant(TABLE, "cross_covariance", "* temperature)", "+ temperature)"),
    Mutant(
        TABLE,
        "layer_norm",
        ("permute(0, 2, 3, 1)).permute(0, 3, 1, 2)", "tf.nn.moments(wide, [-1]"),
        ("permute(0, 2, 3, 1)).permute(0, 3, 2, 1)", "tf.nn.moments(wide, [1]"),
    ),
]
