"""Heads whose classes are shared among processes: a program that a test starts once a process.

    python sharded.py torch|tf CASES.json OUT

RANK, WORLD_SIZE and so on say which process this is. Every case is some steps of embeddings
x @ table and a head on them; what each process found goes to OUT.RANK.npz.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from processes import own_gpu
from row_steps import saved_names, start_state, zero_slots

from marginface import losses
from marginface.heads import Shard, draw_step
from marginface.losses import MarginLoss
from marginface.optimizers import SGD, AdamW

INPUTS, SIZE, CLASSES, BATCH, STEPS, RATE = 4, 5, 11, 12, 10, 0.05
STEP = SGD(weight_decay=0.02, momentum=0.7)
ADAMW = AdamW(weight_decay=0.2, beta1=0.8, beta2=0.9, epsilon=1e-2)
MODES = ("dense", "blocks", "update", "sampled", "corrected", "frozen", "adamw")
FILTER = 0.3
SCALE = 1024.0


@dataclass(frozen=True)
class Case:
    """What one run of a head is made of; the same in every process.

    Args:
        name: of the loss; after a space what its scale is from.
        mode: dense and blocks give gradients, which plain SGD takes; the others step themselves.
            Where it is frozen, embeddings need no gradient, and the loss is a scaled one; where it
            overflows, a sample is no number in some steps, too.
        classes: of all processes.
    """

    name: str
    mode: str
    classes: int = CLASSES

    @property
    def loss(self) -> MarginLoss:
        name, _, scale_from = self.name.partition(" ")
        return losses.get(name, **({"scale_from": scale_from} if scale_from else {}))

    @property
    def options(self) -> dict[str, Any]:
        """Return the head's options."""
        match self.mode:
            case "dense":
                return {}
            case "blocks":
                return {"block": 2}
            case "update":
                return {"update": STEP}
            case "sampled" | "frozen":
                # So many that a step's labels are never more: TensorFlow traces each size anew.
                return {"update": STEP, "sample_rate": 0.85, "block": 2}
            case "filtered":
                return {"block": 2, "interclass_filter": FILTER}
            case "overflowing":
                return {"update": STEP, "block": 2}
            case "adamw":
                return {"update": ADAMW, "sample_rate": 0.85, "block": 2}
            case _:
                return {"update": STEP, "sample_rate": 0.7, "sampling": "corrected"}

    @property
    def frozen(self) -> bool:
        """Return whether the table does not learn."""
        return self.mode in ("frozen", "overflowing")

    @property
    def scale(self) -> float | None:
        """Return the factor of the loss; None for none."""
        return SCALE if self.frozen else None

    def start(self) -> tuple[Any, dict[str, Any]]:
        """Return the table [INPUTS, SIZE] and the head's arrays, before the first step."""
        rng = np.random.default_rng(1)
        table = rng.normal(size=(INPUTS, SIZE)) * 4
        arrays = {"weight": rng.normal(size=(self.classes * self.loss.num_centers, SIZE))}
        bias = self.loss.initial_bias(self.classes)
        if bias is not None:
            arrays["bias"] = bias + rng.normal(size=bias.shape)
        if "update" in self.options:
            arrays |= zero_slots(self.options["update"], arrays)
        return table, arrays | saved_names(self.loss, self.state())

    def state(self) -> dict[str, Any]:
        """Return what the loss carries before the first step."""
        return start_state(self.loss, self.classes, SIZE)

    def steps(self) -> list[tuple[Any, Any, dict[str, Any]]]:
        """Return each step's inputs [BATCH, INPUTS], labels [BATCH] and draw."""
        rng, inputs = np.random.default_rng(2), []
        rate = self.options.get("sample_rate", 1.0)
        for number in range(STEPS):
            # At times one class alone, so that a sample of few leaves a shard without any.
            labels = rng.integers(0, self.classes if number % 3 else 1, BATCH)
            sampling = self.options.get("sampling", "partial_fc")
            share = 0.2 if rate < 1 and number % 3 == 0 else rate
            draw = draw_step(self.loss, rng, labels, self.classes, share, sampling)
            x = rng.normal(size=(BATCH, INPUTS))
            if self.mode == "overflowing" and number % 2:
                x[number] = np.nan
            inputs.append((x, labels, draw))
        return inputs

    def key(self, what: Any) -> str:
        """Return the name of something that this case found."""
        return f"{self.name}.{self.mode}.{self.classes}.{what}"

    def part(self, step: tuple[Any, Any, dict[str, Any]], rank: int, size: int) -> Any:
        """Return one process's part of a step; drawn classes are everybody's."""
        x, labels, draw = step
        own = {k: v[rank::size] if k in self.loss.draws else v for k, v in draw.items()}
        return x[rank::size], labels[rank::size], own


def in_torch(cases: list[Case], out: str) -> None:
    """Run one of the processes."""
    import torch

    import marginface_torch
    from marginface_torch.arrays import to_numpy
    from marginface_torch.processes import add_up

    torch.set_num_threads(1)
    size = int(os.environ["WORLD_SIZE"])
    group = marginface_torch.join()
    own_gpu()
    rank = group.rank
    assert group.exchange(f"{rank}") == [f"{each}" for each in range(size)]
    results: dict[str, Any] = {}
    for case in cases:
        head = marginface_torch.MarginHead(
            case.loss,
            SIZE,
            case.classes,
            dtype=torch.float64,
            shard=Shard(rank, size),
            **case.options,
        )
        head.rate, head.loss_scale = RATE, case.scale
        table, arrays = case.start()
        head.load_arrays(arrays)
        table = torch.tensor(table, requires_grad=not case.frozen)
        for number, step in enumerate(case.steps()):
            x, labels, draw = case.part(step, rank, size)
            draws = {name: torch.tensor(value) for name, value in draw.items()}
            metrics = head.measure(torch.tensor(x) @ table, torch.tensor(labels), draws)
            if np.isfinite(step[0]).all():
                results[case.key(f"metrics.{number}")] = to_numpy(torch.stack(metrics))
            value = head(torch.tensor(x) @ table, torch.tensor(labels), draws)
            table.grad = None
            head.zero_grad()
            (value * (case.scale or 1)).backward()
            with torch.no_grad():
                if table.grad is not None:
                    table -= RATE * add_up(table.grad) / size
                for parameter in head.parameters():
                    if parameter.requires_grad:
                        parameter -= RATE * parameter.grad
            results[case.key(f"loss.{number}")] = add_up(value.detach()).item() / size
        results[case.key("table")] = to_numpy(table)
        results |= {case.key(k): v for k, v in head.arrays().items()}
    np.savez(f"{out}.{rank}.npz", **results)
    torch.distributed.destroy_process_group()


def in_tf(cases: list[Case], out: str) -> None:
    """Run one of the processes."""
    import tensorflow as tf

    import marginface_tf
    from marginface_tf.processes import add_up

    tf.config.threading.set_intra_op_parallelism_threads(1)
    size = int(os.environ["WORLD_SIZE"])
    group = marginface_tf.join()
    rank, strategy = group.rank, group.strategy
    assert group.exchange(f"{rank}") == [f"{each}" for each in range(size)]
    results: dict[str, Any] = {}
    for case in cases:
        start, arrays = case.start()
        head = marginface_tf.MarginHead(
            case.loss, SIZE, case.classes, dtype="float64", shard=Shard(rank, size), **case.options
        )
        head.rate, head.loss_scale = RATE, case.scale
        head.load_arrays(arrays)
        table = tf.Variable(start, trainable=not case.frozen)

        def call(
            x: Any, labels: Any, draw: Any, case: Case = case, head: Any = head, table: Any = table
        ) -> Any:
            metrics = tf.stack(head.measure(x @ table, labels, draw))
            with tf.GradientTape() as tape:
                value = head(x @ table, labels, draw, training=True)
                scaled = value * (case.scale or 1)
            own = [v.value for v in head.trainable_variables]
            d_table, *gradients = tape.gradient(scaled, [table, *own])
            if d_table is not None:
                table.assign_sub(RATE * add_up(d_table) / size)
            for variable, gradient in zip(own, gradients, strict=True):
                variable.assign_sub(RATE * gradient)
            return add_up(value) / size, metrics

        step = tf.function(lambda *given, call=call: strategy.run(call, given), autograph=False)
        for number, each in enumerate(case.steps()):
            x, labels, draw = case.part(each, rank, size)
            value, metrics = step(
                tf.constant(x),
                tf.constant(labels),
                {k: tf.constant(v) for k, v in draw.items()},
            )
            results[case.key(f"loss.{number}")] = value.numpy()
            if np.isfinite(each[0]).all():
                results[case.key(f"metrics.{number}")] = metrics.numpy()
        results[case.key("table")] = table.numpy()
        with strategy.scope():
            saved = head.arrays()
        results |= {case.key(k): v for k, v in saved.items()}
    np.savez(f"{out}.{rank}.npz", **results)


if __name__ == "__main__":
    framework, path, out = sys.argv[1:]
    given = [Case(*each) for each in json.loads(Path(path).read_text())]
    if framework == "torch":
        in_torch(given, out)
    else:
        in_tf(given, out)
