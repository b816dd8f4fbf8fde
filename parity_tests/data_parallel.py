"""One head on half of a batch in each of two replicas: a program that a test starts.

    python data_parallel.py torch|tf FOLDER LOSS...

FOLDER/LOSS.npz holds, for each step, embeddings, labels and what the loss drew for the whole batch.
Replica r writes to FOLDER/LOSS.out.r.npz, for each step, loss, gradients, what its half was
prepared with, and the state.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
from processes import own_gpu
from row_steps import start_state

from marginface import losses
from marginface.losses import MarginLoss

REPLICAS = 2


def steps_of(problem: dict[str, Any]) -> int:
    """Return the number of steps in a problem."""
    return len(problem["x"])


def parts(problem: dict[str, Any], step: int) -> list[dict[str, Any]]:
    """Return each replica's part of one step: x, labels and draws."""
    names = [name for name in problem if name != "w"]
    return [
        {name: problem[name][step][replica::REPLICAS] for name in names}
        for replica in range(REPLICAS)
    ]


def record_prepared(head: Any) -> threading.local:
    """Keep what a head last handed to `target` as prepared, for each replica's thread apart."""
    kept = threading.local()
    ops = head._ops
    right = ops.target

    def target(cosines: Any, norms: Any, prepared: Any) -> Any:
        kept.last = dict(prepared)
        return right(cosines, norms, prepared)

    ops.target = target
    return kept


def in_torch(loss: MarginLoss, problem: dict[str, Any], out: str, rank: int) -> None:
    """Run one of the processes."""
    import torch

    from marginface_torch import MarginHead
    from marginface_torch.arrays import to_numpy

    head = MarginHead(loss, problem["w"].shape[1], len(problem["w"]), dtype=torch.float64)
    start = start_state(loss, *problem["w"].shape)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(problem["w"]))
        for name, value in head.carried().items():
            value.copy_(torch.tensor(start[name]))
    kept = record_prepared(head)
    arrays: dict[str, Any] = {}
    for step in range(steps_of(problem)):
        own = {k: torch.tensor(v) for k, v in parts(problem, step)[rank].items()}
        x, labels = own.pop("x").requires_grad_(), own.pop("labels")
        head.zero_grad()
        value = head(x, labels, own)
        value.backward()
        found = {"loss": value, "x": x.grad, "w": head.weight.grad}
        found |= {f"prepared.{k}": v for k, v in kept.last.items()}
        found |= {f"state.{k}": v for k, v in head.carried().items()}
        arrays |= {f"{step}.{k}": to_numpy(v) for k, v in found.items()}
    np.savez(f"{out}.{rank}.npz", **arrays)


def two_devices() -> Any:
    """Return a strategy of two replicas on two logical devices."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def in_tf(loss: MarginLoss, problem: dict[str, Any], out: str, strategy: Any) -> None:
    """Run both replicas."""
    import tensorflow as tf

    from marginface_tf import MarginHead

    with strategy.scope():
        head = MarginHead(loss, problem["w"].shape[1], len(problem["w"]), dtype="float64")
        head.weight.assign(problem["w"])
        for name, value in start_state(loss, *problem["w"].shape).items():
            head.carried()[name].assign(value)
    kept = record_prepared(head)

    def call(own: dict[str, Any]) -> dict[str, Any]:
        x, labels = own["x"], own["labels"]
        draw = {name: own[name] for name in loss.draws}
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = head(x, labels, draw, training=True)
        d_x, d_w = tape.gradient(value, [x, head.weight.value])
        prepared = {f"prepared.{name}": each for name, each in kept.last.items()}
        return {"loss": value, "x": d_x, "w": d_w} | prepared

    @tf.function
    def step(own: Any) -> Any:
        return strategy.run(call, (own,))

    arrays: list[dict[str, Any]] = [{} for _ in range(REPLICAS)]
    for number in range(steps_of(problem)):
        given = parts(problem, number)
        values = strategy.experimental_distribute_values_from_function(
            lambda context, given=given: {
                name: tf.constant(value)
                for name, value in given[context.replica_id_in_sync_group].items()
            }
        )
        results = step(values)
        for replica in range(REPLICAS):
            for name, value in results.items():
                each = strategy.experimental_local_results(value)[replica]
                arrays[replica][f"{number}.{name}"] = each.numpy()
            for name, variable in head.carried().items():
                own = strategy.experimental_local_results(variable._value)[replica]
                arrays[replica][f"{number}.state.{name}"] = own.numpy()
    for replica in range(REPLICAS):
        np.savez(f"{out}.{replica}.npz", **arrays[replica])


def main() -> None:
    """Run every loss, one after the other."""
    framework, folder, *names = sys.argv[1:]
    if framework == "torch":
        from marginface_torch import join

        run, place = in_torch, join().rank
        own_gpu()
    else:
        run, place = in_tf, two_devices()
    for name in names:
        with np.load(f"{folder}/{name}.npz") as arrays:
            run(losses.get(name), dict(arrays), f"{folder}/{name}.out", place)


if __name__ == "__main__":
    main()
