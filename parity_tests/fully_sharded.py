"""A backbone in PyTorch's FSDP beside a head in shards: a program that a test starts.

python fully_sharded.py OUT
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import torch
from processes import own_gpu
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import marginface_torch
from marginface.heads import Shard
from marginface_torch.processes import add_up

INPUTS, SIZE, CLASSES, BATCH, STEPS, RATE = 4, 6, 10, 8, 5, 0.1


def learn(rank: int, size: int) -> dict[str, Any]:
    """Return the mean loss of each step and the head's arrays after them."""
    torch.manual_seed(0)
    layers = nn.Linear(INPUTS, 8), nn.Tanh(), nn.Linear(8, SIZE)
    backbone = nn.Sequential(*layers).double()
    head = marginface_torch.MarginHead(
        "arcface",
        SIZE,
        CLASSES,
        dtype=torch.float64,
        shard=Shard(rank, size) if size > 1 else None,
    )
    rng = np.random.default_rng(0)
    head.load_arrays({"weight": rng.normal(size=(CLASSES, SIZE))})
    if size > 1:
        fully_shard(backbone, mesh=init_device_mesh(torch.get_default_device().type, (size,)))
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=RATE)
    losses = []
    for _ in range(STEPS):
        x, labels = rng.normal(size=(BATCH, INPUTS)), rng.integers(0, CLASSES, BATCH)
        own = torch.tensor(x[rank::size]), torch.tensor(labels[rank::size])
        loss = head(backbone(own[0]), own[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.detach()
        losses.append((add_up(mean) / size if size > 1 else mean).item())
    return {"losses": np.array(losses)} | head.arrays()


if __name__ == "__main__":
    group = marginface_torch.join()
    own_gpu()
    np.savez(f"{sys.argv[1]}.{group.rank}.npz", **learn(group.rank, group.size))
    # fully_shard holds on to the group, so that destroying it does not wait for gloo's threads.
    # One that still holds a tensor while Python ends would abort the process.
    os._exit(0)
