"""Images a second of whole training, from files to checkpoints, against a plain loop.

python benchmarks/train.py --backend torch --data FOLDER      # or tf; --backbones mbf,iresnet50
MARGINFACE_FACES=FOLDER python benchmarks/train.py            # on FOLDER/lfw112/train

`marginface.train` runs as it does for anyone; whenever it has recorded its metrics, the plain loop
takes as many steps. The plain loop is written as arcface_torch's, with the framework's own loader:
`plain_torch.py` with a DataLoader of two processes, `plain_keras.py` with tf.data. A second table
tells where the trainer's time goes: its own cost is neither the step nor waiting for images.
A checkpoint is timed by itself: the trainer writes one an epoch, and at least every 2000 steps.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer
from harness import real_faces, report, show, write

import marginface
from marginface import backbones
from marginface.backend import load_backend
from marginface.data.formats.folder import ImageFolder, open_folder
from marginface.data.pipeline import TrainingPipeline
from marginface.data.sources import OpenOptions
from marginface.heads.initial import InitialHead
from marginface.training import trainer
from marginface.training.config.keys import MAX_STEPS_BETWEEN_CHECKPOINTS
from marginface.training.trackers import Tracker

SCALE, MARGIN, EMBEDDING_SIZE = 16.0, 0.2, 512
STEP, WAITING, CHECKPOINT = "bare step", "waiting for images", "checkpoint"
STAGES = (
    *(STEP, WAITING, "draw", "agreeing on a stop", "finite checks", "progress", "metrics"),
    CHECKPOINT,
)


def main(
    backend: str = "torch",
    backbones_: Annotated[str, typer.Option("--backbones")] = "mbf,mobilefacenet,iresnet50",
    data: Path | None = None,
    batch: int = 32,
    rounds: int = 5,
    steps: int = 10,
    threads: int = 2,
    compiled: bool = True,
    output: Path | None = None,
) -> None:
    """Time the training of each backbone, in rounds of so many steps."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    faces = open_folder(data or real_faces(), OpenOptions())
    kind = "compiled" if compiled and backend == "torch" else "not compiled"
    results = {}
    for name in backbones_.split(","):
        turns = Turns(lambda name=name: plain_loop(backend, name, faces, batch), rounds, steps)
        with tempfile.TemporaryDirectory() as folder, turns.watching(backend):
            marginface.train(
                backend=backend,
                data=faces.root,
                output=Path(folder, "run"),
                backbone=name,
                embedding_size=EMBEDDING_SIZE,
                loss="arcface",
                scale=SCALE,
                margin=MARGIN,
                batch_size=batch,
                max_steps=(rounds + 1) * steps,
                log_every=steps,
                lr=0.01,
                threads=threads,
                compile="on" if compiled and backend == "torch" else "off",
                callbacks=[turns.take],
            )
        if len(turns.seconds["marginface"]) < rounds:
            raise SystemExit(f"{name}: training was stopped before its {rounds} rounds were over")
        results[name] = turns.seconds
        show_stages(name, turns)
        title = f"training, {backend}, batch {batch}, {kind}"
        report(title, {name: turns.seconds}, batch * steps, "plain", None)
    write(output, batch=batch * steps, base="plain", seconds=results)


class Turns:
    """Lets a plain loop take turns with the trainer, and keeps both times.

    Args:
        create: makes the plain loop, a function that takes one step, once the trainer has set the
            threads.
        rounds: turns of each that count.
        steps: of a turn.
    """

    def __init__(self, create: Callable[[], Callable[[], float]], rounds: int, steps: int) -> None:
        self.seconds: dict[str, list[float]] = {"plain": [], "marginface": []}
        self.stages: dict[str, list[float]] = defaultdict(list)  # seconds of each round
        self.steps = steps
        self._create, self._rounds = create, rounds
        self._plain: Callable[[], float] | None = None
        self._round: dict[str, float] = defaultdict(float)
        self._started = self._away = 0.0

    def take(self, _: dict[str, Any]) -> None:
        """Take the plain loop's turn; the trainer calls it with its metrics."""
        now = time.perf_counter()
        if self._plain is None:  # the first turn warmed up: it allocated, traced and compiled
            self._plain = self._create()
            for _ in range(2):
                self._plain()
        else:
            self.seconds["marginface"].append(now - self._started)
            for name in STAGES:
                self.stages[name].append(self._round[name])
        if len(self.seconds["plain"]) < self._rounds:
            turn = time.perf_counter()
            for _ in range(self.steps):
                self._plain()
            self.seconds["plain"].append(time.perf_counter() - turn)
        self._round.clear()
        self._started = time.perf_counter()
        self._away += self._started - now

    @property
    def checkpoint(self) -> float:
        """Seconds of the last checkpoint, after the last turn."""
        return self._round[CHECKPOINT]

    def watching(self, backend: str) -> ExitStack:
        """Return a context in which the trainer's stages are timed."""
        learner = import_module(f"marginface_{backend}.learner").Learner
        stack = ExitStack()
        for owner, attribute, name in (
            (learner, "step", STEP),
            (TrainingPipeline, "__next__", WAITING),
            (trainer, "_draw", "draw"),
            (trainer, "agree", "agreeing on a stop"),
            (trainer, "require_finite_step", "finite checks"),
            (trainer, "require_finite_arrays", CHECKPOINT),
            (trainer, "save_checkpoint", CHECKPOINT),
            (Tracker, "step", "progress"),
            (Tracker, "_record", "metrics"),
        ):
            timed = self._timed(getattr(owner, attribute), name)
            stack.enter_context(patch.object(owner, attribute, timed))
        return stack

    def _timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            started, away = time.perf_counter(), self._away
            try:
                return function(*args, **options)
            finally:  # the plain loop's turn is within that of writing metrics
                self._round[name] += time.perf_counter() - started - (self._away - away)

        return call


def plain_loop(backend: str, name: str, faces: ImageFolder, batch: int) -> Callable[[], float]:
    """Return a function that takes a step of the plain loop on its next batch."""
    paths = [faces.root / path for path in faces.paths]
    head = np.asarray(InitialHead((len(faces.identities), EMBEDDING_SIZE), 0))
    if backend == "torch":
        import plain_torch as plain

        network = load_backend("torch").create_backbone(name, EMBEDDING_SIZE, seed=0)
        train = plain.plain_training(network, plain.PlainArcFace(head, SCALE, MARGIN))
        batches = plain.plain_batches(paths, faces.labels, batch, workers=2)
    else:
        import plain_keras as plain

        graph = backbones.describe(name, EMBEDDING_SIZE)
        network = plain.plain_model(graph, backbones.initial_weights(graph, 0))
        train = plain.plain_training(network, head, SCALE, MARGIN)
        batches = plain.plain_batches(paths, faces.labels, batch)
    return lambda: train(*next(batches))


def show_stages(name: str, turns: Turns) -> None:
    """Print where the trainer's time goes, and its own cost as a share of the bare step."""
    total, step = np.array(turns.seconds["marginface"]), np.array(turns.stages[STEP])
    own = total - step - turns.stages[WAITING]
    timed = own - np.sum([v for k, v in turns.stages.items() if k not in (STEP, WAITING)], axis=0)
    rows = [
        (stage, f"{1e3 * median(seconds) / turns.steps:.3f}", *_shares(seconds, step))
        for stage, seconds in (*turns.stages.items(), ("all else", timed), ("trainer's own", own))
    ]
    saved, every = turns.checkpoint, MAX_STEPS_BETWEEN_CHECKPOINTS
    share = saved * turns.steps / every / median(step)
    show(
        f"{name}: a step of the trainer",
        ("stage",),
        ("ms", "of the bare step", "smallest", "largest"),
        rows,
        caption=f"a checkpoint takes {saved:.2f} s: {share:.2%} of {every} steps",
    )


def _shares(seconds: Sequence[float], step: np.ndarray) -> tuple[str, ...]:
    shares = np.array(seconds) / step
    return tuple(f"{value:.2%}" for value in (median(shares), shares.min(), shares.max()))


if __name__ == "__main__":
    typer.run(main)
