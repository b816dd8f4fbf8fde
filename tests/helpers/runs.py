"""Training runs of the fake framework: what their tests share."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from marginface.arrays import ArraySpec
from marginface.errors import MarginfaceError
from marginface.learner import LearnerArray
from marginface.runs.checkpoints import latest_checkpoint, load_checkpoint
from marginface.runs.folder import RunFolder
from marginface.runs.metrics import read_metrics
from marginface.training import saving
from marginface.training.config.files import read_config_file, resume_config
from marginface.training.config.keys import TrainConfig
from marginface.training.processes.groups import ALONE


class Still:
    """A learner that has arrays and does nothing with them.

    Args:
        values: by name.
        rows: each process's rows, by name, of what they share.
        rank: which process this is.
    """

    def __init__(self, values, rows=None, rank=0):
        self.values, self.rows, self.rank = values, rows or {}, rank

    def array_specs(self):
        return {
            name: LearnerArray(ArraySpec(value.dtype, value.shape), self.rows.get(name, []))
            for name, value in self.values.items()
        }

    def arrays(self, names, *, gather=True):
        specs = self.array_specs()
        for name in names:
            value = self.values[name]
            yield name, value if gather else specs[name].read_part(value, self.rank)


def save_checkpoint(folder, checkpoint, *, keep=3):
    """Save what a checkpoint holds, in one process."""
    learner = Still(checkpoint.state)
    rest = (folder, checkpoint.step, checkpoint.extra)
    return saving.save_checkpoint(ALONE, learner, *rest, shared=True, keep=keep)


QUIET = Console(quiet=True)
STEPS = 23


class Threads:
    """A group of threads, each a process of a run.

    Args:
        rank: of this one.
        texts: what each gave, shared by all.
        barrier: of all.
    """

    def __init__(self, rank: int, texts: list[str], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, len(texts)
        self._texts, self._barrier = texts, barrier

    def exchange(self, text: str) -> list[str]:
        self._texts[self.rank] = text
        self._barrier.wait()
        said = list(self._texts)
        self._barrier.wait()
        return said


def on_processes(backend, size, run):
    """Call `run(rank)` on as many threads as one group; return what each returned or raised."""
    barrier, texts = threading.Barrier(size, timeout=20), [""] * size

    def process(rank):
        backend.local.group = Threads(rank, texts, barrier)
        try:
            return run(rank)
        except Exception as error:  # whatever it is, the test looks at it
            if not isinstance(error, MarginfaceError):
                barrier.abort()  # the others would wait for it
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(process, range(size)))


def stop_at(step, number):
    """Return a function that has a learner send this process a signal in its `step`th step."""

    def prepare(learner):
        learner.on_step = lambda taken: os.kill(os.getpid(), number) if taken == step else None

    return prepare


def die_at(step, error=None):
    """Return a function that has a learner fail in its `step`th step."""

    def prepare(learner):
        def on_step(taken):
            if taken == step:
                raise error or RuntimeError("power cut")

        learner.on_step = on_step

    return prepare


def record(run: Path) -> list[dict]:
    """Return the metrics without the speed, which no two runs share."""
    return [
        {name: value for name, value in line.items() if name != "images_per_second"}
        for line in read_metrics(run / "metrics.jsonl")
    ]


def final_state(run: Path) -> dict[str, bytes]:
    checkpoint = load_checkpoint(latest_checkpoint(run / "checkpoints"))
    assert checkpoint.step == STEPS
    return {name: value.tobytes() for name, value in checkpoint.state.items()}


def resumed(config, **given):
    return resume_config(TrainConfig(**read_config_file(RunFolder(config.output).config)), given)
