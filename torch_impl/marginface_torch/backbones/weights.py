"""Weights in and out of PyTorch, under canonical names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from marginface import backbones
from marginface.backbones.naming import fit_weights
from marginface.checks import check_type
from marginface_torch.arrays import to_numpy
from marginface_torch.backbones.backbone import Backbone

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
    state = backbone.state_dict()
    return {name: to_numpy(state[name]) for name in backbone.graph.parameters()}


def _check(backbone: object) -> None:
    inner = (f"pass its .{name}" for name in ("_orig_mod", "module") if hasattr(backbone, name))
    check_type("backbone", backbone, Backbone, next(inner, "pass what create_backbone made"))
