"""What each loss costs, beside NormFace or another (--base), and pytorch-metric-learning's.

python benchmarks/losses.py --backend torch --output results/    # or tf, all
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np
import typer
from harness import Work, run, show, spread

from marginface import losses
from marginface.backend import load_backend
from marginface.benchmarking.cost import Cost
from marginface.benchmarking.files import write_costs
from marginface.benchmarking.losses import BASE, growth, inputs, measure, parse_sizes
from marginface.tables.benchmarking import cost_table
from marginface.terminal import Terminal

PEER = "pytorch-metric-learning: "
FILTERED = "arcface, interclass_filter 0.4"
WORKER = "--worker"
# Ours: the class there, and its own arguments for our defaults; its margins are degrees. That both
# compute the same is tested in parity_tests/test_peers.py. Its SphereFace is not annealed.
PEERS = {
    "normface": ("NormalizedSoftmaxLoss", {"temperature": 1 / 64}),
    "cosface": ("CosFaceLoss", {"margin": 0.4, "scale": 64}),
    "arcface": ("ArcFaceLoss", {"margin": np.degrees(0.5), "scale": 64}),
    "subcenter_arcface": ("SubCenterArcFaceLoss", {"margin": np.degrees(0.5), "scale": 64}),
}


def main(
    backend: str = "all",
    names: str = ",".join(losses.names()),
    sizes: str = "128x10000,128x100000,512x10000",
    rounds: int = 7,
    threads: int = 2,
    memory: bool = True,
    base: str = BASE,
    output: Path | None = None,
) -> None:
    """Measure losses and their peers."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    costs: list[Cost] = []
    for each in ("torch", "tf") if backend == "all" else (backend,):
        _set_threads(each, threads)
        for batch, classes in parse_sizes(sizes):
            chosen = names.split(",")
            rivals = partial(rivals_of, each, threads)
            compared = measure(
                *(each, chosen, batch, classes),
                rounds=rounds,
                memory=memory,
                rivals=rivals,
                base=base,
            )
            Terminal().print(cost_table(compared, base))
            if each == "torch":
                _show_peers(compared, batch, classes)
            costs += compared
    if output is not None:
        ours = [cost for cost in costs if not cost.name.startswith(PEER)]
        write_costs(ours, base, output, "losses")


def rivals_of(
    backend: str, threads: int, name: str, x: np.ndarray, labels: np.ndarray, classes: int
) -> dict[str, Work]:
    """Return steps of a loss's peer, and of arcface with a filter of negatives."""
    found = peers(name, x, labels, classes) if backend == "torch" else {}
    if name == "arcface":
        step = load_backend(backend).loss_step
        loss = losses.get(name)
        found[FILTERED] = step(
            *(loss, x, labels, classes, {}), threads=threads, interclass_filter=0.4
        )
    return found


def peers(name: str, embeddings: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, Work]:
    """Return a step of pytorch-metric-learning's, if it has that loss."""
    if importlib.util.find_spec("pytorch_metric_learning") is None:
        raise SystemExit("run: pip install pytorch-metric-learning")
    return {PEER + name: _peer(name, embeddings, labels, classes)} if name in PEERS else {}


def _peer(name: str, embeddings: np.ndarray, labels: np.ndarray, classes: int) -> Work:
    import torch
    from pytorch_metric_learning import losses as theirs

    made, options = PEERS[name]
    head = getattr(theirs, made)(num_classes=classes, embedding_size=embeddings.shape[1], **options)
    x, y = torch.tensor(embeddings, requires_grad=True), torch.tensor(labels)

    def step() -> float:
        x.grad = head.W.grad = None
        value = head(x, y)
        value.backward()
        return value.item()

    return step


def _show_peers(costs: list[Cost], batch: int, classes: int) -> None:
    """Print how many times faster than its peer each loss is, and both peaks of memory."""
    seconds = {cost.name: cost.seconds for cost in costs}
    memory = {cost.name: cost.memory for cost in costs}
    rows = []
    for name in seconds:
        if PEER + name not in seconds:
            continue
        ours, theirs = (statistics.median(seconds[n]) * 1e3 for n in (name, PEER + name))
        peaks = (
            (memory[name], run(__file__, WORKER, name, batch, classes)) if memory[name] else (0, 0)
        )
        rows.append(
            (
                *(name, f"{ours:.1f}", f"{theirs:.1f}", *spread(seconds, PEER + name, name)),
                *(f"{peak / 1e6:.0f}" for peak in peaks),
            )
        )
    numbers = ("ours ms", "theirs ms", "times faster", "smallest", "largest", "MB", "MB")
    show("pytorch-metric-learning's time over ours", ("loss",), numbers, rows)


def _peer_memory(name: str, batch: int, classes: int) -> int:
    """Return the peak of a peer's step above its weights and their gradient, as ours is taken."""
    return growth(
        lambda batch, classes: _peer(name, *inputs(batch, classes), classes),
        batch,
        classes,
        losses.get(name).num_centers,
    )


def _set_threads(backend: str, threads: int) -> None:
    if backend == "torch":
        import torch

        torch.set_num_threads(threads)
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        print(json.dumps(_peer_memory(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        typer.run(main)
