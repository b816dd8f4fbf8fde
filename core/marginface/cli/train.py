"""`marginface train`: its options are the keys of the training configuration."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

import typer

from marginface.api.train import start
from marginface.errors import AgreedError, TrainingDivergedError
from marginface.model import RESIZINGS
from marginface.training.config.keys import TrainConfig
from marginface.training.processes.groups import this_process
from marginface.training.processes.launching import launch, this_program

METAVARS: dict[Any, str] = {int: "<int>", float: "<float>", Path: "<path>"}
# Named as in the commands that verify, and as their keys are; or without a --no-.
OPTIONS = {
    "val_images": ("--images", "--val-images"),
    "val_pairs": ("--pairs", "--val-pairs"),
    "init": ("--init", "--init-weights"),  # the latter is its old name
    "init_partial": ("--init-partial",),
    "frozen_statistics": ("--frozen-statistics",),
}
CHOICES = {"resize": f"[{'|'.join(RESIZINGS)}]", "init_head": "random|run|centers"}
LISTS = {"data": "<path>", "val": "<str>"}  # what may be given again


def train(config: Path | None, resume: bool, overwrite: bool, **options: Any) -> None:
    """Train a model on face images: a folder with one for each identity, a .rec or a .tfrecord.

    Values come from the defaults, then the recipe, the config file and these options. A run that
    was stopped continues with --output RUN --resume, in the other framework too.
    """
    place = this_process()
    try:
        result = start(
            config,
            options,
            lambda settings: launch(this_program(), settings.processes, settings.output),
            resume,
            overwrite,
        )
    except (AgreedError, TrainingDivergedError):
        if place.rank == 0:
            raise
        raise typer.Exit(2) from None  # process 0 says it
    if isinstance(result, int):
        raise typer.Exit(result)
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


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
        metavar=None
        if kind is bool
        else LISTS.get(name) or CHOICES.get(name) or METAVARS.get(kind, "<str>"),
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
