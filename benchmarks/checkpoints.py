"""Time and memory of a checkpoint of many classes, beside gathering and copying all of them first.

python benchmarks/checkpoints.py --backend all --classes 100000,1000000

"before" is how checkpoints were written and read until each process wrote its own rows: every
process takes a copy of every array of all classes, checks it in NumPy and hands it to safetensors,
whose file is read again for its checksum; reading is the whole file at once. Disk: `--folder`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import safetensors.numpy
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from marginface import losses
from marginface.backend import load_backend
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD
from marginface.runs.checkpoints import latest_checkpoint, open_checkpoint
from marginface.training.processes.groups import ALONE
from marginface.training.processes.launching import environments
from marginface.training.saving import save_checkpoint

SIZE, CORES, BATCH = 512, 2, 4
WORKER = "--worker"


def main(
    backend: str = "all",
    classes: str = "100000,1000000",
    processes: str = "1,2",
    rivals: str = "before,now",
    rounds: int = 3,
    folder: Path | None = None,
) -> None:
    """Write and read checkpoints of a head with momentum, `before` and `now` in turns."""
    for each in ("torch", "tf") if backend == "all" else (backend,):
        for number in map(int, classes.split(",")):
            for count in map(int, processes.split(",")):
                results = start(each, number, count, rivals, rounds, folder)
                title = f"{each}, {number:,} classes x {SIZE} with momentum, {count} process(es)"
                Console(width=110).print(table(title, results, rivals.split(",")))


def start(
    backend: str, classes: int, count: int, rivals: str, rounds: int, folder: Path | None
) -> list[dict[str, Any]]:
    """Run all processes of one run; return the figures of each."""
    with TemporaryDirectory(dir=folder) as room:
        command = [sys.executable, __file__, WORKER, backend, str(classes), rivals, str(rounds)]
        running = [
            subprocess.Popen(
                [*command, room],
                env={**os.environ, **environment, "OMP_NUM_THREADS": str(CORES // count)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for environment in environments(count, Path(room))
        ]
        return [json.loads(each.communicate()[0].splitlines()[-1]) for each in running]


def table(title: str, processes: list[dict[str, Any]], rivals: list[str]) -> Table:
    """Show seconds of the slowest process, and megabytes that the worst one took besides."""
    result = Table(title=title, box=SIMPLE)
    for column in ("", "rival", "s", "ratio (smallest to largest)", "MB besides the weights"):
        result.add_column(column, justify="right")
    for what in ("write", "read"):
        taken = {
            name: [max(each) for each in zip(*(p[what][name]["s"] for p in processes), strict=True)]
            for name in rivals
        }
        for name in rivals:
            ratios = [a / b for a, b in zip(taken[rivals[0]], taken[name], strict=True)]
            result.add_row(
                what,
                name,
                f"{statistics.median(taken[name]):.2f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                f"{max(max(p[what][name]['bytes']) for p in processes) / 1e6:.0f}",
            )
    return result


def work(backend: str, classes: int, rivals: list[str], rounds: int, room: Path) -> dict[str, Any]:
    """Write and read in one of the processes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    framework, threads = load_backend(backend), int(os.environ["OMP_NUM_THREADS"])
    group: Any = framework.join(threads=threads) if size > 1 else ALONE
    spec = LearnerSpec(
        ModelSpec("mobilefacenet", SIZE, (32, 32)),
        losses.get("cosface"),
        classes,
        SGD(),
        seed=0,
        threads=threads,
        group=group,
    )
    learner = framework.create_learner(spec)
    images = np.random.default_rng(rank).integers(0, 256, (BATCH, 32, 32, 3), np.uint8)
    learner.step(images, np.arange(BATCH) + BATCH * rank, 0.1, {})  # else momentum has no memory
    writers: dict[str, Callable[[Path], None]] = {
        "before": lambda folder: write_before(learner, group, folder),
        "now": lambda folder: write_now(learner, group, folder),
    }
    readers: dict[str, Callable[[Path], None]] = {
        "before": lambda folder: read_before(learner, folder),
        "now": lambda folder: read_now(learner, folder),
    }
    costs: dict[str, Any] = {
        what: {name: {"s": [], "bytes": []} for name in rivals} for what in ("write", "read")
    }
    for _ in range(rounds):
        for what, rival_of in (("write", writers), ("read", readers)):
            for name in rivals:
                group.exchange("ready")
                seconds, taken = measured(lambda f=rival_of[name], n=name: f(room / n))
                costs[what][name]["s"].append(seconds)
                costs[what][name]["bytes"].append(taken)
    return costs


def measured(action: Callable[[], None]) -> tuple[float, int]:
    """Return seconds, and bytes by which the process was larger at its largest than before."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, started = memory("VmRSS"), time.perf_counter()
    action()
    return time.perf_counter() - started, memory("VmHWM") - before


def memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def write_before(learner: Any, group: Any, folder: Path) -> None:
    state = {name: np.array(array) for name, array in learner.arrays()}
    assert all(np.isfinite(array).all() for array in state.values())
    if group.rank == 0:
        folder.mkdir(exist_ok=True)
        safetensors.numpy.save_file(state, folder / "state.safetensors")
        (folder / "crc32").write_text(f"{crc32_of(folder / 'state.safetensors')}")
        with (folder / "state.safetensors").open("rb") as file:
            os.fsync(file.fileno())
    group.exchange("written")


def write_now(learner: Any, group: Any, folder: Path) -> None:
    assert learner.first_not_finite() is None
    save_checkpoint(group, learner, folder, 1, {}, shared=True, keep=1)


def read_before(learner: Any, folder: Path) -> None:
    assert crc32_of(folder / "state.safetensors") == int((folder / "crc32").read_text())
    learner.load_arrays(safetensors.numpy.load_file(folder / "state.safetensors"))


def read_now(learner: Any, folder: Path) -> None:
    path = latest_checkpoint(folder)
    assert path is not None
    learner.load_arrays(open_checkpoint(path).state)


def crc32_of(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        own, number, names, times, where = sys.argv[2:]
        print(json.dumps(work(own, int(number), names.split(","), int(times), Path(where))))
    else:
        typer.run(main)
