"""The processes of a run: joining them, and what they tell each other."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from marginface.devices import require_gpu
from marginface.errors import MarginfaceError
from marginface.heads import Shard
from marginface.training.processes.groups import STORE, meet, this_process
from marginface.training.processes.listening import keep_to_this_machine, opened_to_this_machine


class Group:
    """The processes of a run, as this one sees them; all call its methods together.

    Attributes:
        rank: this process's number.
        size: how many there are.
        strategy: under whose `run` they compute together.
    """

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy
        self.rank = strategy.cluster_resolver.task_id or 0
        self.size = strategy.num_replicas_in_sync
        numbers = tf.TensorSpec([None], tf.int32)
        self._gather = tf.function(
            lambda values: strategy.run(gather, (values,)), input_signature=[numbers]
        )

    def exchange(self, text: str) -> list[str]:
        """Return the texts of all processes, by rank."""
        given = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        lengths = self._gather(np.array([len(given)], np.int32)).numpy()
        padded = np.zeros(max(lengths.max(), 1), np.int32)
        padded[: len(given)] = given
        rows = self._gather(padded).numpy().reshape(self.size, -1).astype(np.uint8)
        return [row[:n].tobytes().decode() for row, n in zip(rows, lengths, strict=True)]


def join(*, threads: int | None = None, device: str = "auto") -> Group:
    """Join the processes that TF_CONFIG names.

    Args:
        threads: CPU threads to use from now on.
        device: "auto", "cpu", or "cuda", of which each process has its own.
    """
    set_threads(threads)
    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif gpus:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        require_gpu(local, len(gpus))
        tf.config.set_visible_devices(gpus[local], "GPU")
    return Group(_strategy())


def _strategy() -> Any:
    """Return the strategy; the server of it, open to all networks, is kept to this machine.

    Not where there is none, or TF_CONFIG names processes of other machines.
    """
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    addresses = resolver.cluster_spec().as_dict().get("worker", [])
    own = [address for address in addresses if address.startswith(("127.0.0.1:", "localhost:"))]
    if len(addresses) < 2 or own != addresses:
        return tf.distribute.MultiWorkerMirroredStrategy()
    port = int(addresses[resolver.task_id].rpartition(":")[2])
    if file := os.environ.get(STORE):  # who comes early waits with a closed port
        meet(Path(file).parent, this_process())
    with opened_to_this_machine(port):
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if not keep_to_this_machine(port) and resolver.task_id == 0:
        ports = ", ".join(address.rpartition(":")[2] for address in addresses)
        warnings.warn(
            f"TensorFlow listens to every network at the ports {ports}: who reaches them can read "
            "and write files as you; close them to other machines with a firewall",
            stacklevel=4,
        )
    return strategy


def set_threads(threads: int | None) -> None:
    """Use so many CPU threads; TensorFlow can be told only before its first operation."""
    if threads is None or threads == tf.config.threading.get_intra_op_parallelism_threads():
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        warnings.warn(
            f"TensorFlow runs already: it keeps its number of threads, {threads} comes too late",
            stacklevel=4,
        )


def replicas() -> int:
    """Return the number of processes that run this together; 1 without tf.distribute."""
    context = _context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def check_processes(shard: Shard) -> None:
    """Raise unless a strategy runs with the processes that a shard is made for."""
    strategy = tf.distribute.get_strategy()
    said = f"{type(strategy).__name__} keeps all variables alike"
    if not tf.distribute.has_strategy():
        said = "tf.distribute does not run"
    elif isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        index, count = strategy.cluster_resolver.task_id, strategy.num_replicas_in_sync
        if (index, count) == (shard.index, shard.count):
            return
        said = f"tf.distribute has this as process {index} of {count}"
    raise MarginfaceError(
        f"this head is shard {shard.index} of {shard.count}, but {said}; call it in the run of a "
        "MultiWorkerMirroredStrategy, with Shard(task_id, num_replicas_in_sync)"
    )


def gather(values: Tensor) -> Tensor:
    """Return the values [batch, ...] of all processes, one after the other; no gradient."""
    return tf.stop_gradient(_context().all_gather(_placed(values), 0))


def add_up(values: Tensor) -> Tensor:
    """Return the sum over all processes; no gradient."""
    return tf.stop_gradient(_context().all_reduce("SUM", _placed(values)))


def mean_of_all(values: list[Tensor]) -> list[Tensor]:
    """Return the means over all processes, which speak once for all of them."""
    wide = max((value.dtype for value in values), key=lambda dtype: dtype.size)
    flat = tf.concat([tf.cast(tf.reshape(value, [-1]), wide) for value in values], 0)
    mean = add_up(flat) / _context().num_replicas_in_sync
    parts = tf.split(mean, [value.shape.num_elements() for value in values])
    pairs = zip(parts, values, strict=True)
    return [tf.cast(tf.reshape(part, value.shape), value.dtype) for part, value in pairs]


def gather_rows(values: Tensor, ranges: list[range]) -> Tensor:
    """Return the rows of all processes, whose numbers may differ."""
    most = max(map(len, ranges))
    lacking = [[0, most - values.shape[0]], *[[0, 0]] * (values.shape.rank - 1)]
    whole = gather(tf.pad(values, lacking))
    return tf.concat([whole[i * most : i * most + len(rows)] for i, rows in enumerate(ranges)], 0)


def in_replica(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a graph of a function that all processes call together, in their strategy's scope."""

    def run(*given: Any) -> Any:
        return tf.distribute.get_strategy().run(function, given)

    graph: Callable[..., Any] = tf.function(run)
    return graph


def _context() -> Any:
    return tf.distribute.get_replica_context()


def _placed(values: Tensor) -> Tensor:
    """Return values that name their device: a gather takes no others."""
    if values.device:
        return values
    with tf.device("/gpu:0" if tf.config.list_logical_devices("GPU") else "/cpu:0"):
        return tf.identity(values)
