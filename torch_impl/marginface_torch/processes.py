"""The processes of a run: joining them, and what they tell each other."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from marginface.devices import require_gpu
from marginface.errors import MarginfaceError
from marginface.heads import Shard
from marginface.training.processes.groups import STORE, this_process

# For a process that neither answers nor ends; one that was killed is noticed at once. Long enough
# for another to write a checkpoint of very many classes.
PATIENCE = timedelta(hours=1)


@dataclass(frozen=True)
class Group:
    """The processes of a run, as this one sees them; all call its methods together.

    Args:
        rank: which process this is, from 0.
        size: how many there are.
        texts: the processes as they exchange texts; None for as they exchange tensors.
    """

    rank: int
    size: int
    texts: distributed.ProcessGroup | None = None

    def exchange(self, text: str) -> list[str]:
        """Return the texts of all processes, by rank."""
        texts: list[Any] = [None] * self.size
        distributed.all_gather_object(texts, text, group=self.texts)
        return texts


def join(*, threads: int | None = None, device: str = "auto") -> Group:
    """Join the processes that RANK and WORLD_SIZE name.

    They meet in the launcher's file, or under torchrun at MASTER_ADDR and MASTER_PORT.

    Args:
        threads: CPU threads to use from now on.
        device: "auto", "cpu", or "cuda", of which each process has its own.
    """
    set_threads(threads)
    gpu = torch.cuda.is_available() and device != "cpu"
    if gpu:
        local, devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        require_gpu(local, devices)
        torch.cuda.set_device(local)
    if not distributed.is_initialized():
        kind = "nccl" if gpu else "gloo"
        where: dict[str, Any] = {}
        if file := os.environ.get(STORE):
            place = this_process()
            store = distributed.FileStore(file, place.size)  # type: ignore[attr-defined]
            where = {"store": store, "rank": place.rank, "world_size": place.size}
        distributed.init_process_group(kind, timeout=PATIENCE, **where)
        atexit.register(_leave)
    # NCCL would copy every text to the GPU and wait for it.
    texts = distributed.new_group(backend="gloo", timeout=PATIENCE) if gpu else None
    return Group(distributed.get_rank(), distributed.get_world_size(), texts)


def _leave() -> None:
    """Leave the group while Python still runs, and wait for its threads.

    A thread of gloo's may be the last to hold a tensor of a collective that Python called. To free
    it, it needs Python's lock; if Python is ending by then, the whole process aborts. The threads
    are waited for only where nothing else holds the group. DistributedDataParallel would, for as
    long as anybody holds the learner: it gets a group of its own, whose tensors Python never sees.
    """
    if distributed.is_initialized():
        distributed.destroy_process_group()


def set_threads(threads: int | None) -> None:
    """Use so many CPU threads; for None, PyTorch's choice."""
    if threads is not None:
        torch.set_num_threads(threads)


def replicas() -> int:
    """Return the number of processes that run this together; 1 without torch.distributed."""
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if running else 1


def check_processes(shard: Shard) -> None:
    """Raise unless torch.distributed runs with the processes that a shard is made for."""
    running = distributed.is_available() and distributed.is_initialized()
    index, count = (distributed.get_rank(), distributed.get_world_size()) if running else (0, 1)
    if (index, count) != (shard.index, shard.count):
        raise MarginfaceError(
            f"this head is shard {shard.index} of {shard.count}, but torch.distributed "
            + (f"has this as process {index} of {count}" if running else "does not run")
            + "; call init_process_group, and make the head with Shard(get_rank(), "
            "get_world_size())"
        )


def gather(values: Tensor) -> Tensor:
    """Return the values [batch, ...] of all processes, one after the other; no gradient."""
    count = distributed.get_world_size()
    whole = values.new_empty(count * len(values), *values.shape[1:])
    distributed.all_gather(list(whole.chunk(count)), values.contiguous())
    return whole


def gather_rows(values: Tensor, ranges: list[range]) -> Tensor:
    """Return the rows of all processes, whose numbers may differ."""
    whole = values.new_empty(ranges[-1].stop, *values.shape[1:])
    for source, rows in enumerate(ranges):
        part = whole[rows.start : rows.stop]
        if source == distributed.get_rank():
            part.copy_(values)
        distributed.broadcast(part, source)
    return whole


def add_up(values: Tensor) -> Tensor:
    """Return the sum over all processes; no gradient."""
    total = values.clone()
    distributed.all_reduce(total)
    return total
