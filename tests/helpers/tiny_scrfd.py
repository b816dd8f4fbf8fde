"""A detector with SCRFD's outputs that takes bright blocks for faces, small enough to see through.

A block of `stride` x `stride` pixels on the grid is a face: red at stride 8, green at 16, blue at
32. Its box reaches two strides to each side of the block's first pixel, its points are `POINTS`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
POINTS = np.array([[-1, -1], [1, -1], [0, 0.1], [-0.8, 1], [0.8, 1]], np.float32)  # in strides
SECOND = 0.9  # of the score: what a cell's second anchor gives


def save_detector(
    path: Path,
    *,
    batch: int | str = "N",
    sides: tuple[int | str, int | str] = ("H", "W"),
    batch_axis: bool = True,
    points: bool = True,
) -> Path:
    """Write the model; without `batch_axis` its outputs are [rows, ...] as for one photo."""
    nodes, weights, outputs = [], [], {}
    for channel, stride in enumerate(STRIDES):
        # From -1 (black) and 1 (bright) to 0 and 1.
        mean = np.zeros((2, 3, stride, stride), np.float32)
        mean[0, channel], mean[1, channel] = 0.5 / stride**2, SECOND * 0.5 / stride**2
        parts = {
            "score": (mean, np.array([0.5, SECOND * 0.5], np.float32), 1),
            "box": (np.zeros((8, 3, stride, stride), np.float32), np.full(8, 2, np.float32), 4),
            "points": (
                np.zeros((20, 3, stride, stride), np.float32),
                np.tile(POINTS.ravel(), 2),
                10,
            ),
        }
        if not points:
            del parts["points"]
        for part, (weight, bias, numbers) in parts.items():
            name = f"{part}_{stride}"
            shape = np.array([0, -1, numbers] if batch_axis else [-1, numbers], np.int64)
            weights += [
                numpy_helper.from_array(weight, f"{name}_weight"),
                numpy_helper.from_array(bias, f"{name}_bias"),
                numpy_helper.from_array(shape, f"{name}_shape"),
            ]
            nodes += [
                helper.make_node(
                    "Conv",
                    ["images", f"{name}_weight", f"{name}_bias"],
                    [f"{name}_map"],
                    strides=[stride, stride],
                ),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_last", f"{name}_shape"], [name]),
            ]
            outputs[part, stride] = name
    order = [outputs[part, stride] for part in parts for stride in STRIDES]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *sides])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in order],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def photo_with(
    height: int, width: int, *blocks: tuple[int, int, int], brightness: int = 255
) -> np.ndarray:
    """Return a black photo with blocks given as (stride, column, row) in cells of that stride."""
    photo = np.zeros((height, width, 3), np.uint8)
    for stride, column, row in blocks:
        y, x = row * stride, column * stride
        photo[y : y + stride, x : x + stride, STRIDES.index(stride)] = brightness
    return photo
