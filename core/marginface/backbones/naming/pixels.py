"""Weights for other pixels: another order of channels, another scale; the same embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from marginface.backbones import IMAGES, Graph
from marginface.backbones.layers import Conv
from marginface.errors import MarginfaceError

Order = Literal["rgb", "bgr"]


def with_pixels(
    arrays: Mapping[str, NDArray[Any]],
    graph: Graph,
    own: tuple[Order, Sequence[float], Sequence[float]],
    wanted: tuple[Order, Sequence[float], Sequence[float]],
) -> dict[str, NDArray[Any]]:
    """Return weights for a network whose images are prepared in another way.

    The first convolution takes up the order of channels and what pixels are divided by. It cannot
    take up a mean, since what it adds around images would have to be that mean.

    Args:
        arrays: weights, under canonical names.
        graph: the network.
        own: order of channels, mean and std of each channel, in its order, that they were trained
            with.
        wanted: those of images that they shall take.

    Raises:
        MarginfaceError: the means differ.
    """
    (order, mean, std), (new_order, new_mean, new_std) = own, wanted
    turned = -1 if order != new_order else 1
    if list(mean)[::turned] != list(new_mean):
        raise MarginfaceError(
            f"these weights take pixels with mean {_listed(mean[::turned])}, there they would get "
            f"mean {_listed(new_mean)}; write a model folder, which keeps what they take"
        )
    if own == wanted:
        return dict(arrays)
    factor = np.divide(new_std, list(std)[::turned])[:, None, None]
    changed = {}
    for node in graph.nodes:
        if IMAGES in node.inputs:
            if not isinstance(node.layer, Conv):
                raise MarginfaceError(f"{graph.name} does not begin with a convolution")
            name = f"{node.layer.name}.weight"
            weight = np.asarray(arrays[name])  # [out, in, height, width]
            changed[name] = (weight[:, ::turned] * factor).astype(weight.dtype)
    return {**arrays, **changed}


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in dict.fromkeys(values))
