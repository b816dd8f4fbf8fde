"""Training runs of the fake framework: what their tests share."""

import os
from pathlib import Path

from rich.console import Console

from marginface.training.checkpoints import latest_checkpoint, load_checkpoint
from marginface.training.config import TrainConfig
from marginface.training.config_files import read_config_file, resume_config
from marginface.training.run import RunFolder
from marginface.training.trackers import read_metrics

QUIET = Console(quiet=True)
STEPS = 23


def stop_at(step, number):
    """Return what makes a learner send this process a signal in its `step`th step."""

    def prepare(learner):
        learner.on_step = lambda taken: os.kill(os.getpid(), number) if taken == step else None

    return prepare


def die_at(step):
    """Return what makes a learner fail in its `step`th step."""

    def prepare(learner):
        def on_step(taken):
            if taken == step:
                raise RuntimeError("power cut")

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
