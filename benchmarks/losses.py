"""What each loss costs, beside NormFace's and beside pytorch-metric-learning's.

python benchmarks/losses.py --backend torch --output results/    # or tf, all
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from marginface import losses
from marginface.benchmarking import Work, ratios
from marginface.benchmarking.losses import Cost, measure, parse_sizes
from marginface.benchmarking.tables import table, write_costs

PEER = "pytorch-metric-learning: "
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
    output: Path | None = None,
) -> None:
    """Measure losses and their peers."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    costs: list[Cost] = []
    for each in ("torch", "tf") if backend == "all" else (backend,):
        _set_threads(each, threads)
        for batch, classes in parse_sizes(sizes):
            chosen = names.split(",")
            rivals = peers if each == "torch" else None
            found = measure(
                each, chosen, batch, classes, rounds=rounds, memory=memory, rivals=rivals
            )
            Console(width=110).print(table(found))
            if rivals is not None:
                Console(width=110).print(_against_peers(found))
            costs += found
    if output is not None:
        write_costs([cost for cost in costs if not cost.name.startswith(PEER)], output)


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


def _against_peers(costs: list[Cost]) -> Table:
    """Return how many times faster than its peer each loss is, and both peaks of memory."""
    seconds = {cost.name: cost.seconds for cost in costs}
    memory = {cost.name: cost.memory for cost in costs}
    result = Table(title="pytorch-metric-learning's time over ours")
    for column in (
        "loss",
        "ours ms",
        "theirs ms",
        "times faster",
        "smallest",
        "largest",
        "MB",
        "MB",
    ):
        result.add_column(column, justify="left" if column == "loss" else "right")
    for name in seconds:
        if PEER + name not in seconds:
            continue
        middle, low, high = ratios(seconds, PEER + name, name)
        ours, theirs = (statistics.median(seconds[n]) * 1e3 for n in (name, PEER + name))
        first = costs[0]
        peak = _peer_memory(name, first.batch, first.classes) if memory[name] else 0
        result.add_row(
            name,
            *(f"{value:.1f}" for value in (ours, theirs)),
            *(f"{value:.2f}" for value in (middle, low, high)),
            *(f"{value / 1e6:.0f}" for value in (memory[name] or 0, peak)),
        )
    return result


def _peer_memory(name: str, batch: int, classes: int) -> int:
    """Return the peak of a peer's step above its weights and their gradient, as ours is taken."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from losses import _peer\n"
        "from marginface.benchmarking.losses import EMBEDDING_SIZE, _inputs, _kilobytes\n"
        "name, batch, classes = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])\n"
        "_peer(name, *_inputs(4, 50), 50)()\n"
        "before = _kilobytes('VmRSS')\n"
        "step = _peer(name, *_inputs(batch, classes), classes)\n"
        "Path('/proc/self/clear_refs').write_text('5')\n"
        "step(); step()\n"
        "centers = 3 if 'subcenter' in name else 1\n"
        "weights = classes * centers * EMBEDDING_SIZE * 4\n"
        "print((_kilobytes('VmHWM') - before) * 1024 - 2 * weights)\n"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, here, name, str(batch), str(classes)]
    return int(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    )


def _set_threads(backend: str, threads: int) -> None:
    if backend == "torch":
        import torch

        torch.set_num_threads(threads)
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)


if __name__ == "__main__":
    typer.run(main)
