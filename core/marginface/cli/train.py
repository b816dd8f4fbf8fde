"""`marginface train`: its options are the keys of the training configuration."""

from __future__ import annotations

import inspect
import os
import warnings
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

import typer

from marginface import losses
from marginface.data.image_files import PassedOverWarning
from marginface.errors import AgreedError, MarginfaceError, TrainingDivergedError
from marginface.losses.registry import awaits_import
from marginface.outputs import refuse_inputs
from marginface.runs.folder import RunFolder
from marginface.training.config.files import (
    coerce,
    read_config_file,
    resolve_config,
    resume_config,
)
from marginface.training.config.keys import TrainConfig
from marginface.training.output import check_output, sole_run_writer
from marginface.training.processes.groups import this_process
from marginface.training.processes.launching import (
    PARENT,
    launch,
    leave_with,
    this_program,
)
from marginface.training.resuming import check_resumption

METAVARS: dict[Any, str] = {int: "<int>", float: "<float>", Path: "<path>"}
# Named as in the commands that verify, and as their keys are.
OPTIONS = {"val_images": ("--images", "--val-images"), "val_pairs": ("--pairs", "--val-pairs")}
LISTS = {"data": "<path>", "val": "<str>"}  # what may be given again


def train(config: Path | None, resume: bool, overwrite: bool, **options: Any) -> None:
    """Train a model on face images: a folder with one for each identity, a .rec or a .tfrecord.

    Values come from the defaults, then the recipe, the config file and these options. A run that
    was stopped continues with --output RUN --resume, in the other framework too.
    """
    if resume and overwrite:
        raise MarginfaceError(
            "--resume continues the run in --output and --overwrite replaces it; give one of them"
        )
    typed = {name: value for name, value in options.items() if value is not None}
    file = read_config_file(config) if config else {}
    run: dict[str, Any] = {}
    if resume:
        folder = RunFolder(Path({**file, **typed}.get("output", ".")))
        folder.require_run()
        run = read_config_file(folder.config)
        _require_loss(str(run.get("loss")), {**file, **typed})
    if "loss" in typed:
        losses.load(typed["loss"])  # code of one's own is imported here, and never for a file
    place = this_process()
    if place.named:
        _require_processes(place.size, {**file, **typed})
        typed["processes"] = place.size
    if place.rank:  # process 0 says it
        warnings.simplefilter("ignore", PassedOverWarning)
    if resume:
        settings = resume_config(TrainConfig(**run), {**file, **typed})
    else:
        settings = resolve_config(file, typed)
        refuse_inputs(settings.output, [config])

    if settings.processes > 1 and not place.named:
        command = this_program()
        with sole_run_writer(settings, resume=resume):  # else process 0 finds out, in a while
            check_output(settings, resume=resume, overwrite=overwrite)
            if resume:
                check_resumption(settings)
        raise typer.Exit(launch(command, settings.processes, settings.output))
    if place.named and (parent := os.environ.get(PARENT)):
        leave_with(int(parent))

    from marginface.training.trainer import train as run_training

    try:
        result = run_training(settings, resume=resume, overwrite=overwrite)
    except (AgreedError, TrainingDivergedError):
        if place.rank == 0:
            raise
        raise typer.Exit(2) from None  # process 0 says it
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


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


def _parameter(name: str) -> inspect.Parameter:
    """Return a configuration key as an option: its type, help and group; unset is None.

    Values arrive as text, which the configuration reads and checks, as it does a file's.
    """
    field = TrainConfig.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    kind = kinds[0] if NoneType in get_args(field.annotation) else field.annotation
    text = str(field.description)
    if not field.is_required() and field.default not in (None, {}, ()):
        text = f"{text.removesuffix('.')}; default: {_text(field.default)}."
    option = typer.Option(
        *OPTIONS.get(name, ()),
        help=text,
        show_default=False,
        metavar=None if kind is bool else LISTS.get(name) or METAVARS.get(kind, "<str>"),
        rich_help_panel=str(extra["panel"]),
    )
    given_as: Any = list[str] if name in LISTS else bool if kind is bool else str
    annotation = Annotated[given_as | None, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _text(value: Any) -> str:
    """Show a default as it would be typed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)


def _signature() -> inspect.Signature:
    config = Annotated[
        Path | None,
        typer.Option(help="YAML file with any of these keys.", rich_help_panel="Run"),
    ]
    resume = Annotated[
        bool, typer.Option("--resume", help="Continue the run in --output.", rich_help_panel="Run")
    ]
    overwrite = Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the run in --output.", rich_help_panel="Run"),
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter("config", keyword, default=None, annotation=config),
        inspect.Parameter("resume", keyword, default=False, annotation=resume),
        inspect.Parameter("overwrite", keyword, default=False, annotation=overwrite),
    ]
    return inspect.Signature([*map(_parameter, TrainConfig.model_fields), *options])


# Typer reads the options from here; mypy does not know that functions take the attribute.
train.__signature__ = _signature()  # type: ignore[attr-defined]
