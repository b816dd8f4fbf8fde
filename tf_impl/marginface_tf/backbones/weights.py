"""Weights in and out of TensorFlow, under canonical names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from marginface import backbones
from marginface.backbones.naming import fit_weights
from marginface.checks import check_type
from marginface_tf.backbones.backbone import Backbone

Arrays = Mapping[str, NDArray[Any]]


def load_weights(backbone: Backbone, source: str | Path | Arrays) -> None:
    """Set a backbone's weights and statistics.

    Names are those of any project that `marginface.backbones.naming` knows. Where its networks
    compute with another BatchNorm epsilon than the backbone, running variances are moved, so that
    embeddings are the project's.

    Args:
        backbone: from `create_backbone`.
        source: a .safetensors, .pt, .pth or .ckpt file (never unpickling code), or arrays under
            canonical names.

    Raises:
        MarginfaceError: a parameter is missing, left over, of another shape, or not of real
            numbers; it is named.
    """
    _check(backbone)
    arrays = source if isinstance(source, Mapping) else backbones.read_weights(source)
    label = "the given mapping" if isinstance(source, Mapping) else str(source)
    backbone.set_arrays(fit_weights(backbone.graph, arrays, label))


def save_weights(backbone: Backbone, path: str | Path) -> None:
    """Write a backbone's weights and statistics to a .safetensors file, canonical names."""
    backbones.write_weights(path, backbone_arrays(backbone))


def backbone_arrays(backbone: Backbone) -> dict[str, NDArray[Any]]:
    """Return a backbone's weights and statistics under canonical names."""
    _check(backbone)
    return {
        name: backbone.layouts[name].to_canonical(variable.numpy())
        for name, variable in backbone.arrays.items()
    }


def _check(backbone: object) -> None:
    check_type("backbone", backbone, Backbone, "pass what create_backbone made")
