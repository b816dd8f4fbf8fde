"""Networks that others publish and that there are none of here: what they are, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray


class Elsewhere(NamedTuple):
    """A network that is none of these backbones.

    Args:
        array: the end of the name of one of its arrays, by which it is known.
        shape: how that array's shape ends.
        words: what the network is, why it is none of these, and what to do with its weights.
    """

    array: str
    shape: tuple[int, ...]
    words: str


# By mk-minchul/CVLface, run_v1/models/vit_kprpe/vit.py and run_v1/models/vit/__init__.py.
ELSEWHERE = (
    Elsewhere(
        "keypoint_linear.weight",
        (10,),
        "CVLface's transformer with KPRPE, which takes five points of the face beside its image, "
        "as no network here does; compute with CVLface's own code",
    ),
    Elsewhere(
        "patch_embed.proj.weight",
        (3, 8, 8),
        "a vision transformer on patches of 8 x 8 pixels as CVLface's; those here are on 9 x 9; "
        "write it as .onnx with its own code (torch.onnx.export), which --model takes",
    ),
)


def known_elsewhere(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Say what known network of others some arrays are of, and what to do; "" for none.

    >>> import numpy as np
    >>> known_elsewhere({"net.keypoint_linear.weight": np.ones((4704, 10))})[:34]
    "CVLface's transformer with KPRPE, "
    """
    for each in ELSEWHERE:
        for name, array in arrays.items():
            if name.endswith(each.array) and array.shape[-len(each.shape) :] == each.shape:
                return each.words
    return ""
