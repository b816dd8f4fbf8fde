"""A detector with YuNet's outputs, small enough to see through.

A block of `stride` x `stride` pixels on the grid is a face where its blue (stride 8), green (16) or
red (32) is bright: channels as of BGR. The box is four strides wide and two high around the block's
middle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
# Middle, and logarithms of the sides, in strides.
BOX = np.array([0.5, 0.5, np.log(4), np.log(2)], np.float32)
POINTS = np.array([[-1, -1], [1, -1], [0, 0.1], [-0.8, 1], [0.8, 1]], np.float32)
OBJECT = 0.81  # objectness of every cell


def save_yunet(path: Path, side: int | str = 64) -> Path:
    """Write the model, whose input is [1, 3, side, side] as it is in public files."""
    nodes, weights, outputs = [], [], []
    for channel, stride in enumerate(STRIDES):
        bright = np.zeros((1, 3, stride, stride), np.float32)
        bright[0, channel] = 1 / 255 / stride**2
        parts = {
            "cls": (bright, np.zeros(1, np.float32)),
            "obj": (bright * 0, np.full(1, OBJECT, np.float32)),
            "bbox": (np.zeros((4, 3, stride, stride), np.float32), BOX),
            "kps": (np.zeros((10, 3, stride, stride), np.float32), POINTS.ravel()),
        }
        for part, (weight, bias) in parts.items():
            name = f"{part}_{stride}"
            shape = np.array([1, -1, len(bias)], np.int64)
            arrays = {"weight": weight, "bias": bias, "shape": shape}
            weights += [
                numpy_helper.from_array(each, f"{name}_{key}") for key, each in arrays.items()
            ]
            filters = ["input", f"{name}_weight", f"{name}_bias"]
            nodes += [
                helper.make_node("Conv", filters, [f"{name}_map"], strides=[stride, stride]),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_last", f"{name}_shape"], [name]),
            ]
            outputs.append(name)
    order = sorted(
        outputs, key=lambda name: ("cls", "obj", "bbox", "kps").index(name.split("_")[0])
    )
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in order],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path
