"""The run folder: what a training run leaves, and reading it back.

config.yaml         every key of the configuration
environment.json    versions, processor and learning rate, for each start of the run
model.json          the model, apart from its weights
identities.txt      one name a line; the line is the label
metrics.jsonl       one JSON object a line
tensorboard/        the same for TensorBoard
checkpoints/        step-00000100/ and so on
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from marginface.atomic import replacing
from marginface.data.lookup import same_form
from marginface.errors import MarginfaceError
from marginface.formats import FROM_KERAS, is_of_keras
from marginface.model import ModelSpec
from marginface.outputs import PASSING, not_ours
from marginface.regular import require_regular
from marginface.runs.checkpoints import folder_name, load_checkpoint
from marginface.runs.chosen import read_chosen
from marginface.strict_yaml import load_yaml
from marginface.text import printable

STARTS = "sessions"  # of a run, in its environment.json


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run's files."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, processor and learning rate of each start."""
        return self.path / "environment.json"

    @property
    def model(self) -> Path:
        """The model specification."""
        return self.path / "model.json"

    @property
    def identities(self) -> Path:
        """The identities' names, in the order of their labels."""
        return self.path / "identities.txt"

    @property
    def metrics(self) -> Path:
        """Metrics as JSON lines."""
        return self.path / "metrics.jsonl"

    @property
    def thresholds(self) -> Path:
        """Thresholds of `marginface calibrate`, if it has been at work."""
        return self.path / "thresholds.json"

    @property
    def tensorboard(self) -> Path:
        """Metrics as TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def lock(self) -> Path:
        """The lock file: its writer holds it, and removes it at the end."""
        return self.path / ".lock"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def remove_leftovers(self) -> None:
        """Remove the temporary files that a killed writer left; call it as the only writer."""
        for path in self._files:
            for rest in self.path.glob(f".{path.name}.*.tmp"):
                rest.unlink(missing_ok=True)

    def remove_start(self) -> None:
        """Remove what a start writes before it has learned anything."""
        for path in self._files:
            path.unlink(missing_ok=True)
        for events in self.tensorboard.glob("events.out.tfevents.*.marginface.*"):
            events.unlink()
        shutil.rmtree(self.checkpoints / folder_name(0), ignore_errors=True)
        for folder in (self.tensorboard, self.checkpoints):
            with suppress(OSError):  # not empty, or never made
                folder.rmdir()

    @property
    def _files(self) -> tuple[Path, ...]:
        names = (self.config, self.environment, self.model, self.identities, self.metrics)
        return (*names, self.thresholds)

    def _require_regular(self) -> None:
        require_regular(self.path, "expected a run folder")
        for path in self._files:
            require_regular(path)

    @property
    def replaced(self) -> Path:
        """The folder beside it where a run that is replaced waits for a checkpoint of this one."""
        return self.path.with_name(f"{self.path.name}.replaced")

    @property
    def _parts(self) -> tuple[Path, ...]:
        return (*self._files, self.tensorboard, self.checkpoints)

    def set_aside(self) -> None:
        """Move a run that `require_free` let be replaced to `replaced`."""
        there = [part for part in self._parts if part.exists()]
        if there:
            self.replaced.mkdir()
        for part in there:
            part.rename(self.replaced / part.name)

    def put_back(self) -> None:
        """Move the run that was replaced back, if there is one."""
        if self.replaced.is_dir():
            for part in self.replaced.iterdir():
                part.rename(self.path / part.name)
            self.replaced.rmdir()

    def drop_replaced(self) -> None:
        """Remove the run that was replaced."""
        shutil.rmtree(self.replaced, ignore_errors=True)

    def _foreign(self) -> str | None:
        """Return the name of something here that no run leaves, or None."""
        ours = {each.name for each in self._parts}
        names = (each.name for each in self.path.iterdir())
        return next((n for n in names if n not in ours and not PASSING.fullmatch(n)), None)

    def require_free(self, *, overwrite: bool = False) -> None:
        """Raise if a run or a file is here already; the remains of a failed start do not count.

        Args:
            overwrite: a run may be replaced, if there is nothing else in its folder.
        """
        self._require_regular()
        if self.path.exists() and not self.path.is_dir():
            raise MarginfaceError(f"output {self.path} is a file; choose a folder with --output")
        if overwrite and self.replaced.exists():
            raise MarginfaceError(
                f"{self.replaced} holds the run that an earlier --overwrite was to replace; move "
                "it elsewhere, or remove it"
            )
        foreign = self._foreign() if self.path.exists() else None
        holds_run = any(part.exists() for part in (self.config, self.checkpoints))
        if foreign and not holds_run:
            raise not_ours(self.path)
        if foreign:
            raise MarginfaceError(
                f"output {self.path} already holds a run, and {foreign}, so that --overwrite does "
                "not replace it; continue it with --resume, or choose another --output"
            )
        if holds_run and not overwrite:
            raise MarginfaceError(
                f"output {self.path} already holds a run; continue it with --resume, or choose "
                "another --output; --overwrite replaces it"
            )

    def require_run(self) -> None:
        """Raise if no run with a configuration is here."""
        self._require_regular()
        if not self.config.is_file():
            raise MarginfaceError(
                f"cannot resume: {self.path} {_no_run(self.path, self.config.name)}; "
                "give the run's folder with --output"
            )

    def require_model(self) -> None:
        """Raise if no run with a model is here."""
        self._require_regular()
        if not self.model.is_file():
            raise MarginfaceError(
                f"{self.path} {_no_run(self.path, self.model.name)}; expected the --output folder "
                "of marginface train"
            )

    def read_starts(self) -> list[dict[str, Any]]:
        """Read the software and hardware of each of the run's starts so far."""
        if not self.environment.is_file():
            return []
        try:
            starts: list[dict[str, Any]] = json.loads(self.environment.read_bytes())[STARTS]
            if not isinstance(starts, list):
                raise TypeError(type(starts))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise MarginfaceError(
                f"{self.environment} is not what was written; restore or delete it"
            ) from None
        return starts

    def was_trained_on(self, identities: Iterable[str]) -> bool:
        """Return whether these are the run's identities, in the order of their labels."""
        names = (map(printable, each) for each in (self.read_identities(), identities))
        one, other = ([*map(same_form, each)] for each in names)
        return one == other

    def read_identities(self) -> tuple[str, ...]:
        """Return the identities' names, as `printable`, in the order of their labels."""
        text = self.identities.read_text(encoding="utf-8", errors="surrogateescape")
        return tuple(text.split("\n")[:-1])

    def read_set_names(self, count: int) -> list[str] | None:
        """Return the run's names for its `count` training sets; None where identities do not tell.

        Sets keep the names that they had when the run began, wherever they have gone since.
        """
        identities = self.read_identities()
        names = list(dict.fromkeys(name.partition("/")[0] for name in identities))
        told_apart = count > 1 and all("/" in name for name in identities)
        return names if told_apart and len(names) == count else None


@dataclass(frozen=True)
class LoadedRun:
    """A trained model.

    Args:
        spec: the model apart from its weights.
        weights: the backbone's weights and statistics under canonical names.
        config: the recorded configuration as plain values; empty where none is recorded.
        step: steps that it was trained for.
    """

    spec: ModelSpec
    weights: dict[str, NDArray[Any]]
    config: dict[str, Any]
    step: int


def load_run(path: str | Path, checkpoint: str | int | None = None) -> LoadedRun:
    """Return the model of a run from its newest checkpoint that is whole; a warning names others.

    Args:
        path: a run folder, or one of its checkpoints (RUN/checkpoints/step-00000100), which is
            read or refused.
        checkpoint: of a run folder: "best", "last" or a step, as `read_chosen` takes it.

    Raises:
        MarginfaceError: no run is there, it has no checkpoint yet, the named one is damaged, or
            all are.
    """
    path = Path(path)
    named = path.parent.name == "checkpoints" and path.is_dir()
    run = RunFolder(path.parents[1] if named else path)
    run.require_model()
    if named and checkpoint is not None:
        raise named_twice(path, checkpoint)
    try:
        spec = ModelSpec.from_json(json.loads(run.model.read_text(encoding="utf-8")))
    except MarginfaceError as error:
        raise MarginfaceError(f"{run.model}: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise MarginfaceError(f"{run.model} is no model specification; restore it") from None
    try:
        text = run.config.read_text(encoding="utf-8") if run.config.is_file() else ""
        config = load_yaml(text) or {}
    except (yaml.YAMLError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise MarginfaceError(f"{run.config} is no configuration in YAML; restore it")
    read = partial(load_checkpoint, prefix="backbone.")
    loaded = read(path) if named else read_chosen(run.checkpoints, checkpoint, read)
    if loaded is None:
        raise no_checkpoint(path)
    weights = {
        name.removeprefix("backbone."): np.asarray(value) for name, value in loaded.state.items()
    }
    return LoadedRun(spec, weights, config, loaded.step)


def no_checkpoint(run: Path) -> MarginfaceError:
    """Make the error of a run that has saved nothing yet."""
    return MarginfaceError(f"run {run} has no checkpoint yet; train it further with --resume")


def named_twice(path: Path, checkpoint: str | int) -> MarginfaceError:
    """Make the error of a checkpoint's folder that is given with another checkpoint."""
    return MarginfaceError(
        f"{path} is a checkpoint already; leave out --checkpoint {checkpoint}, or give the run's "
        f"folder {path.parents[1]}"
    )


def _no_run(path: Path, lacks: str) -> str:
    if path.is_file():
        return "is a file, no run folder"
    if not path.is_dir():
        return "does not exist"
    if is_of_keras(path):
        return f"holds no run but a model of TensorFlow; {FROM_KERAS}"
    runs = sorted(each.parent for each in path.glob(f"*/{lacks}"))
    inside = f", but {runs[0]} does" if runs else ""
    if weights := sorted(path.glob("*.safetensors")):  # a model of a hub, but of another project
        inside = f" but weights that `marginface convert` may know, {weights[0]}"
    return f"holds no run (no {lacks}){inside}"


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; undecodable file names in it are kept as they are."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
