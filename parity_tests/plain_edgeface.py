"""What EdgeFace's authors change in timm's EdgeNeXt."""

from torch import nn


def with_low_rank(module: nn.Module, share: float) -> nn.Module:
    """Put two linear layers in place of each."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            rank = max(2, int(min(child.in_features, child.out_features) * share))
            pair = nn.Sequential()
            pair.add_module("linear1", nn.Linear(child.in_features, rank, bias=False))
            pair.add_module("linear2", nn.Linear(rank, child.out_features))
            setattr(module, name, pair)
        else:
            with_low_rank(child, share)
    return module
