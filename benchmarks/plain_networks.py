"""Backbones as people write them in PyTorch: their authors' layout, NCHW, no graph."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from marginface.backbones.edgeface import NETWORKS as EDGEFACE
from marginface.backbones.edgeface import Network
from marginface.backbones.ir import NETWORKS as IR
from marginface.backbones.vit import SIZES
from marginface.backend import load_backend

sys.path.append(str(Path(__file__).parents[1] / "parity_tests"))


def plain_network(name: str, weights: dict[str, np.ndarray]) -> nn.Module:
    """Return a network with `weights`: by its own code where there is one, by timm for EdgeFace.

    Of others it is our layers one after the other, NCHW.
    """
    network: nn.Module
    if name in IR:
        from plain_ir import PlainIR

        network = PlainIR(IR[name], 512, 112)
    elif name in SIZES:
        from plain_vit import PlainViT

        network = PlainViT(SIZES[name], 512)
    elif name in EDGEFACE:
        network = _edgenext(EDGEFACE[name])
    else:
        network = load_backend("torch").create_backbone(name, 512, seed=0)
    network.load_state_dict({key: torch.tensor(value) for key, value in weights.items()})
    return network


def _edgenext(network: Network) -> nn.Module:
    from plain_edgeface import with_low_rank
    from timm.models.edgenext import EdgeNeXt

    heads = (network.heads,) * 4
    made = EdgeNeXt(num_classes=512, dims=network.widths, depths=network.depths, heads=heads)
    return made if network.rank == 1 else with_low_rank(made, network.rank)
