"""`marginface.train`: train as a configuration says."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marginface import losses
from marginface.calling import public
from marginface.checks import as_path, at_home
from marginface.data.image_files import PassedOverWarning
from marginface.errors import MarginfaceError
from marginface.losses.registry import awaits_import, place
from marginface.optimizers import OPTIMIZERS, Optimizer
from marginface.outputs import refuse_inputs
from marginface.runs.folder import RunFolder
from marginface.runs.metrics import VERIFICATION, read_metrics
from marginface.training.config.files import (
    coerce,
    config_text,
    read_config_file,
    resolve_config,
    resume_config,
)
from marginface.training.config.keys import TrainConfig, check_keys, renamed
from marginface.training.output import check_output, sole_run_writer
from marginface.training.processes.groups import this_process
from marginface.training.processes.launching import (
    COMMAND,
    FORWARDED,
    PARENT,
    launch,
    leave_with,
)
from marginface.training.result import TrainResult
from marginface.training.resuming import check_resumption

if TYPE_CHECKING:
    from marginface.training.trackers import Callback

SHORT_NAMES = {"images": "val_images", "pairs": "val_pairs"}  # as `evaluate` has them
LOCATIONS = ("data", "output", "init", "val", "val_images", "val_pairs")
Launch = Callable[[TrainConfig], int]  # starts the processes of a run; returns the exit status


@public
def train(
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> TrainResult:
    """Train a model on face images and leave everything in a run folder.

    Args:
        config: a YAML file, or a dict, of keys of the training configuration.
        resume: continue the run in `output`.
        overwrite: replace the run in `output`.
        callbacks: each is called with every record of metrics: kind ("train" or "verification"),
            step and values. An exception in one stops the run as Ctrl-C does, with a checkpoint,
            and is raised then.
        options: keys of the configuration, which come before those of `config`;
            `marginface train --help` lists them, with hyphens for underscores. `pairs` and
            `images` may be said for val_pairs and val_images, as in `evaluate`; `loss` may be what
            `marginface.losses.get` returns, and `optimizer` a `marginface.SGD` or `AdamW`.

    Raises:
        MarginfaceError: bad data or configuration, or one of several processes failed.
    """

    if not isinstance(callbacks, (list, tuple)) or not all(map(callable, callbacks)):
        raise MarginfaceError(f"callbacks must be a list of functions, got {callbacks!r}")

    def launched(settings: TrainConfig) -> int:
        if callbacks:
            raise MarginfaceError(
                "callbacks are called in this process; with them give processes=1"
            )
        loss = place(settings.loss)
        if loss.startswith("__main__:"):
            raise MarginfaceError(
                f"the processes of a run cannot import the loss {settings.loss} from this program; "
                "put it into a module, such as my_losses.py, and import that"
            )
        settings = settings.model_copy(update={"loss": loss})
        with tempfile.TemporaryDirectory(prefix="marginface-") as folder:
            file = Path(folder) / "config.yaml"
            file.write_text(config_text(settings), encoding="utf-8")
            # Not this program again, which may be a notebook.
            command = [sys.executable, "-P", "-m", COMMAND, "train", "--config", str(file)]
            command += ["--output", str(settings.output), "--loss", loss]
            command += ["--resume"] * resume + ["--overwrite"] * overwrite
            return launch(command, settings.processes, settings.output)

    keys = config_keys(options)
    result = start(config, keys, launched, resume, overwrite, callbacks)
    if not isinstance(result, int):
        return result
    stopped = result - 128 if result - 128 in FORWARDED else None
    if result and stopped is None:
        raise MarginfaceError(f"a process of the run ended with exit status {result}; see above")
    output = at_home(Path({**_file(config), **keys}["output"]))
    records = read_metrics(RunFolder(output).metrics)
    verified = [each for each in records if each["kind"] == VERIFICATION]
    last = verified[-1] if verified else {}
    step = records[-1]["step"] if records else 0
    return TrainResult(output, step, last.get("best_accuracy"), stopped, last.get("best_step"))


def _show_keys() -> None:
    """Let `help` and completion list the keys: None, as for an option, where one is not given."""
    written = signature(train)
    named = [each for each in written.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    keys = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None)
        for name in (*TrainConfig.model_fields, *SHORT_NAMES)
    ]
    vars(train)["__signature__"] = written.replace(parameters=[*named, *keys])


_show_keys()


def start(
    config: str | Path | Mapping[str, Any] | None,
    options: Mapping[str, Any],
    launched: Launch,
    resume: bool,
    overwrite: bool,
    callbacks: Sequence[Callback] = (),
) -> TrainResult | int:
    """Run a training in this process, or in several by `launched`, whose status is returned."""
    if resume and overwrite:
        raise MarginfaceError(
            "--resume continues the run in --output and --overwrite replaces it; give one of them"
        )
    typed = _at_home({name: value for name, value in options.items() if value is not None})
    if resume and "init" in typed:
        raise MarginfaceError(
            "--init gives a new run its first weights, and --resume goes on with those of the run "
            "in --output; leave --init out, or start a new run in another --output"
        )
    file = _file(config)
    run: dict[str, Any] = {}
    if resume:
        folder = RunFolder(Path({**file, **typed}.get("output", ".")))
        folder.require_run()
        run = read_config_file(folder.config)
        _require_loss(str(run.get("loss")), {**file, **typed})
    if "loss" in typed:
        losses.load(typed["loss"])  # code of one's own is imported here, and never for a file
    here = this_process()
    if here.named:
        _require_processes(here.size, {**file, **typed})
        typed["processes"] = here.size
    if here.rank:  # process 0 says it
        warnings.simplefilter("ignore", PassedOverWarning)
    if resume:
        settings = resume_config(TrainConfig(**run), {**file, **typed})
    else:
        settings = resolve_config(file, typed)
        read = Path(config) if isinstance(config, (str, Path)) else None
        refuse_inputs(settings.output, [read])

    if settings.processes > 1 and not here.named:
        with sole_run_writer(settings, resume=resume):  # else process 0 finds out, in a while
            check_output(settings, resume=resume, overwrite=overwrite)
            if resume:
                check_resumption(settings)
        return launched(settings)
    if here.named and (parent := os.environ.get(PARENT)):
        leave_with(int(parent))
    # Imported once it is needed: the input pipeline, which --help does without.
    from marginface.training.trainer import train as run_training

    return run_training(settings, resume=resume, overwrite=overwrite, callbacks=callbacks)


def config_keys(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of the configuration that are given as arguments."""
    for short, name in SHORT_NAMES.items():
        if options.get(short) is not None and options.get(name) is not None:
            raise MarginfaceError(f"{short} and {name} are two names of one; give one of them")
    keys = renamed({SHORT_NAMES.get(name, name): value for name, value in options.items()})
    if isinstance(loss := keys.get("loss"), losses.MarginLoss):
        own = {name: getattr(loss, name) for name in losses.parameters(loss.name)}
        if given := keys.keys() & {*own, "loss_parameters"}:
            raise MarginfaceError(
                f"{', '.join(sorted(given))} beside the loss {loss!r}, which has its parameters; "
                f"give its name, '{loss.name}', or all of them to marginface.losses.get"
            )
        keys |= {name: own.pop(name) for name in ("scale", "margin") if name in own}
        keys |= {"loss": loss.name, "loss_parameters": own}
    optimizer = keys.get("optimizer")
    for name, kind in OPTIMIZERS.items():
        if type(optimizer) is kind:
            keys |= _optimizer_keys(name, optimizer, keys)
    return keys


def _optimizer_keys(name: str, optimizer: Optimizer, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that an optimizer stands for, or raise if one is given beside it."""
    own = asdict(optimizer)
    if given := [key for key in own if keys.get(key) is not None]:
        raise MarginfaceError(
            f"{', '.join(given)} beside the optimizer {optimizer!r}, which has its own; "
            f"give its name, '{name}', or all of them to marginface.{type(optimizer).__name__}"
        )
    for fixed in own.keys() - TrainConfig.model_fields.keys():
        usual = getattr(type(optimizer), fixed)
        if own.pop(fixed) != usual:
            raise MarginfaceError(
                f"train has {name} with {fixed} {usual:g} alone, got {optimizer!r}; "
                f"leave {fixed} out"
            )
    own["clip_norm"] = optimizer.clip_norm or 0
    return {"optimizer": name, **own}


def _file(config: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the keys of a configuration."""
    if config is None:
        return {}
    if isinstance(config, Mapping):
        if beside := [name for name in ("resume", "overwrite", "callbacks") if name in config]:
            raise MarginfaceError(
                f"{beside[0]} is no key of the configuration; give it as an argument beside config"
            )
        config = renamed(config)
        check_keys(config)
        return _at_home({name: coerce(name, value) for name, value in config.items()})
    if isinstance(config, (str, Path)):
        return _at_home(read_config_file(as_path("config", config)))
    raise MarginfaceError(f"config must be a YAML file or a dict of keys, got {config!r}")


def _at_home(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with the home folder for a leading `~` of their paths."""

    def placed(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [placed(each) for each in value]
        leads = str(value).startswith("~") and isinstance(value, (str, Path))
        return at_home(Path(value)) if leads else value

    return {name: placed(each) if name in LOCATIONS else each for name, each in values.items()}


def _require_processes(size: int, typed: dict[str, Any]) -> None:
    """Raise if another number of processes is given than the environment names."""
    if "processes" in typed and coerce("processes", typed["processes"]) != size:
        raise MarginfaceError(
            f"processes is {typed['processes']}, but the environment names {size} (WORLD_SIZE); "
            "leave processes out under torchrun"
        )


def _require_loss(recorded: str, typed: dict[str, Any]) -> None:
    """Raise if a resumed run with a user's own loss, not imported yet, is given another loss."""
    if awaits_import(recorded) and typed.get("loss", recorded) != recorded:
        raise MarginfaceError(
            f"the run's loss is {recorded}, which a resumed run cannot change to {typed['loss']}; "
            f"give --loss {recorded}, or start a new run with another --output"
        )
