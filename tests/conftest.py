"""A framework of some lines of NumPy, and some faces, to test the training loop without more."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

sys.path.insert(
    0, str(Path(__file__).parent / "helpers")
)  # importlib mode does not, and tests share helpers

from command import Done, cli, printed, refusal
from runs import STEPS

from marginface.arrays import ArraySpec
from marginface.heads import HeadMetrics, Shard
from marginface.learner import (
    STEP,
    Group,
    LearnerArray,
    LearnerSpec,
    LoadSummary,
    StepResult,
    check_fits,
)
from marginface.training.config.keys import TrainConfig
from marginface.training.processes.groups import ALONE, Place

# The same cases each time, however slow the machine is.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.load_profile("fixed")

SIDE = 8  # images are averaged down to SIDE x SIDE


def nothing(*_: object) -> None:
    """Do nothing, whatever happened."""


class FakeLearner:
    """A linear backbone with softmax regression on it, trained by SGD with momentum.

    Gradients are means over the processes of a group. A sampled head looks at the drawn classes.
    """

    def __init__(self, embedding_size: int, num_classes: int, seed: int, group: Group) -> None:
        self.group = group
        rng = np.random.default_rng(seed)
        self.values = {
            "backbone.weight": rng.normal(0, 0.1, (SIDE * SIDE * 3, embedding_size)),
            "head.weight": rng.normal(0, 0.1, (num_classes, embedding_size)),
        }
        self.slots = {name: np.zeros_like(value) for name, value in self.values.items()}
        self.steps = 0
        self.on_step: Callable[[int], None] = nothing
        self.device_name = "cpu"
        self.loss_at: dict[int, float] = {}  # replaces the loss of a step
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.draws: list[Any] = []

    def _features(self, images: Any) -> Any:
        n, h, w, _ = images.shape
        blocks = images.reshape(n, SIDE, h // SIDE, SIDE, w // SIDE, 3).mean((2, 4))
        return blocks.reshape(n, -1) / 127.5 - 1

    def step(
        self, images: Any, labels: Any, learning_rate: float, draw: Any, *, measure: bool = False
    ) -> StepResult:
        features = self._features(images)
        weight, head = self.values["backbone.weight"], self.values["head.weight"]
        embeddings = features @ weight
        logits = embeddings @ head.T
        if "classes" in draw:
            left_out = np.setdiff1d(np.arange(len(head)), draw["classes"])
            logits[:, left_out] = -np.inf
        logits -= logits.max(1, keepdims=True)
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        rows = np.arange(len(labels))
        metrics = self._measured(logits, embeddings, labels) if measure else None
        loss = float(-np.log(p[rows, labels]).mean())
        p[rows, labels] -= 1
        p /= len(labels)
        gradients = {"backbone.weight": features.T @ (p @ head), "head.weight": p.T @ embeddings}
        loss, gradients = self._mean(loss, gradients)
        for name, gradient in gradients.items():
            self.slots[name] = 0.9 * self.slots[name] + gradient
            self.values[name] = self.values[name] - learning_rate * self.slots[name]
        self.steps += 1
        self.rates.append(learning_rate)
        self.losses.append(loss)
        self.draws.append(draw)
        self.on_step(self.steps)
        norm = float(np.linalg.norm(gradients["backbone.weight"]))
        return StepResult(self.loss_at.get(self.steps, loss), norm, metrics)

    def _measured(self, logits: Any, embeddings: Any, labels: Any) -> HeadMetrics[float]:
        own = self.values["head.weight"][labels]
        lengths = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(own, axis=1)
        angles = np.arccos(((embeddings * own).sum(1) / lengths).clip(-1, 1))
        mine = [(logits.argmax(1) == labels).mean(), angles.mean()]
        said = [json.loads(text) for text in self.group.exchange(json.dumps(mine))]
        return HeadMetrics(*map(float, np.mean(said, 0)))

    def _mean(self, loss: float, gradients: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        mine = json.dumps([loss, {name: value.tolist() for name, value in gradients.items()}])
        said = [json.loads(text) for text in self.group.exchange(mine)]
        means = {name: np.mean([theirs[name] for _, theirs in said], 0) for name in gradients}
        return float(np.mean([theirs for theirs, _ in said])), means

    def embed(self, images: Any) -> Any:
        return (self._features(images) @ self.values["backbone.weight"]).astype(np.float32)

    def array_specs(self) -> dict[str, LearnerArray]:
        found = {}
        for name, value in self._all().items():
            shared = "head." in name and self.group.size > 1
            spec = ArraySpec(value.dtype, value.shape)
            found[name] = LearnerArray(spec, self._rows(len(value)) if shared else [])
        return found

    def arrays(self, names: Any = None, *, gather: bool = True) -> Any:
        specs, values = self.array_specs(), self._all()
        for name in specs if names is None else names:
            if gather and specs[name].rows:
                self.group.exchange(name)  # as where each process has some of the classes
            yield (
                name,
                values[name] if gather else specs[name].read_part(values[name], self.group.rank),
            )

    def first_not_finite(self) -> str | None:
        parts = self.arrays(gather=False)
        return next((name for name, value in parts if not np.isfinite(value).all()), None)

    def load_arrays(self, arrays: Any, *, strict: bool = True) -> LoadSummary:
        summary = check_fits(arrays, self.array_specs(), "the given state", strict=strict)
        values = self._all()
        for name in summary.loaded:
            values[name][...] = np.asarray(arrays[name])
        self.steps = int(values[STEP])
        return summary

    def _rows(self, count: int) -> list[range]:
        size = self.group.size
        return [Shard(rank, size).classes(count) for rank in range(size)]

    def _all(self) -> dict[str, Any]:
        slots = {f"optimizer.momentum.{name}": value for name, value in self.slots.items()}
        return {**self.values, **slots, STEP: np.array(self.steps)}


class FakeBackend:
    """Makes fake learners and keeps the last one; `prepare` may change it before training.

    Processes are threads: each has set `local.group` before it trains.
    """

    name = "fake"

    def __init__(self) -> None:
        self.local = threading.local()
        self.prepare: Callable[[FakeLearner], None] = nothing
        self.learner: FakeLearner | None = None
        self.created: LearnerSpec | None = None

    def version(self) -> str:
        return "fake 1.0"

    def join(self, *, threads: int | None = None, device: str = "auto") -> Group:
        del threads, device
        return self.local.group

    def place(self) -> Place:
        """Return where this thread stands."""
        group = getattr(self.local, "group", ALONE)
        return Place(group.rank, group.size, group.rank, group.size, group.size > 1)

    def create_learner(self, spec: LearnerSpec) -> FakeLearner:
        self.created = spec
        group = spec.group or ALONE
        self.learner = FakeLearner(spec.model.embedding_size, spec.num_classes, spec.seed, group)
        self.prepare(self.learner)
        return self.learner


@pytest.fixture
def fake_backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """Every backend's name gives this one."""
    backend = FakeBackend()
    monkeypatch.setattr("marginface.training.preparation.load_backend", lambda _: backend)
    monkeypatch.setattr("marginface.training.preparation.this_process", backend.place)
    monkeypatch.setattr("marginface.training.trainer.this_process", backend.place)
    return backend


@pytest.fixture(scope="session")
def tiny_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three identities with eight images each, told apart by their colour."""
    root = tmp_path_factory.mktemp("tiny") / "faces"
    rng = np.random.default_rng(0)
    for identity in range(3):
        folder = root / f"person_{identity}"
        folder.mkdir(parents=True)
        for number in range(1, 9):
            pixels = rng.integers(0, 120, (112, 112, 3), dtype=np.uint8)
            pixels[..., identity] += 100
            Image.fromarray(pixels).save(folder / f"person_{identity}_{number:04d}.png")
    return root


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.txt"
    same = [f"person_{i}\t{a}\t{a + 1}" for i in range(3) for a in (1, 3, 5, 7)][:10]
    other = [f"person_{i % 3}\t{i % 8 + 1}\tperson_{(i + 1) % 3}\t{i % 8 + 1}" for i in range(10)]
    path.write_text("\n".join(["10", *same, *other]) + "\n")
    return path


@pytest.fixture
def make(tiny_faces, tmp_path):
    def config(name: str = "run", **values) -> TrainConfig:
        defaults = {
            "data": tiny_faces,
            "output": tmp_path / name,
            "backbone": "mobilefacenet",
            "embedding_size": 4,
            "batch_size": 4,
            "max_steps": STEPS,
            "log_every": 5,
            "checkpoint_every": 10,
            "warmup_steps": 3,
        }
        return TrainConfig(**{**defaults, **values})

    return config


@pytest.fixture(scope="session", name="cli")
def cli_fixture() -> Callable[..., Done]:
    """Run the command line in this process: `cli("data", "pack", source, target)`."""
    return cli


@pytest.fixture(scope="session", name="printed")
def printed_fixture() -> Callable[..., str]:
    """Run a command that must succeed; gives its standard output."""
    return printed


@pytest.fixture(scope="session", name="refusal")
def refusal_fixture() -> Callable[..., str]:
    """Run a command that must be refused; gives the line that says why."""
    return refusal
