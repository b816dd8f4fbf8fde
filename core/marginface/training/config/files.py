"""From recipe, file and command line to one configuration, and back to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from marginface import losses
from marginface.errors import MarginfaceError
from marginface.losses.registry import awaits_import
from marginface.regular import require_regular
from marginface.strict_yaml import load_yaml
from marginface.text import change_texts, from_system, to_system
from marginface.training.config.keys import (
    OPTIMIZER_KEYS,
    SCHEDULE_KEYS,
    TrainConfig,
    check_keys,
    check_truth,
    renamed,
)
from marginface.training.config.recipes import get_recipe
from marginface.training.config.values import name_value_pairs, one_line

Values = Mapping[str, Any]

# Keys that a resumed run may change: locations, speed, length, learning rate and records.
PLACES = (
    *("backend", "data", "output"),
    *("device", "deterministic", "recompute"),
    *("processes", "loader_threads", "threads", "compile", "rebuild_index"),
    "refuse_damaged",
)
LENGTH = ("epochs", "max_steps")
COURSE = (
    *("lr", "schedule", "warmup_steps", "warmup_share", "power", "milestones", "gamma"),
    *("lr_factor", "layer_decay", "unfreeze_at"),
)
RECORDS = (
    *("val", "val_images", "val_pairs", "val_every"),
    *("checkpoint_every", "keep_checkpoints", "keep_best", "stop_after", "log_every"),
)
IN_FLOAT32 = {"full", "tf32"}  # of weights, in every checkpoint
RESUMABLE = (*PLACES, *LENGTH, *COURSE, *RECORDS)
# Keys that each process of a run may have its own value of: locations, and how it reads.
LOCAL = (
    *("data", "output", "init", "val", "val_images", "val_pairs"),
    *("loader_threads", "threads", "rebuild_index"),
)


def read_config_file(path: Path) -> dict[str, Any]:
    """Read the keys of a YAML file and validate each by itself; messages name the file."""
    require_regular(path, "expected a configuration in YAML", piped=True)
    try:
        values = change_texts(load_yaml(path.read_text(encoding="utf-8")), to_system)
    except OSError as error:
        raise MarginfaceError(f"cannot read the config file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise MarginfaceError(
            f"cannot read the config file {path}: line {number} is no UTF-8 text; convert the file "
            f"(such as iconv -f ISO-8859-1 -t UTF-8 {quote(str(path))} > utf8.yaml)"
        ) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "not readable"
        raise MarginfaceError(f"{path}{line}: not valid YAML: {problem}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise MarginfaceError(f"{path}: expected 'key: value' lines, got a {type(values).__name__}")
    try:
        values = renamed(values)
        check_keys(values)
        return {name: coerce(name, value) for name, value in values.items()}
    except MarginfaceError as error:
        raise MarginfaceError(f"{path}: {error}") from None


def config_text(config: TrainConfig) -> str:
    """Write every key as YAML; `read_config_file` reads the same configuration back."""
    values = change_texts(config.model_dump(mode="json"), from_system)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def resolve_config(file: Values, command_line: Values) -> TrainConfig:
    """Return the configuration: defaults < recipe < file < command line."""
    name = command_line.get("recipe", file.get("recipe"))
    values = {} if name is None else dict(get_recipe(name).values)
    for layer in (file, command_line):
        values = _override(values, layer)
    return TrainConfig(**values)


def resume_config(run: TrainConfig, changes: Values) -> TrainConfig:
    """Return a run's configuration with `changes` made.

    Raises:
        MarginfaceError: a key differs that would make it another run; all are named.
    """
    check_keys(changes)
    values = {name: coerce(name, value) for name, value in changes.items()}
    changed = [
        f"{name} ({getattr(run, name)} to {value})"
        for name, value in values.items()
        if name not in RESUMABLE
        and not _same(name, getattr(run, name), value)
        and not _exchangeable(name, getattr(run, name), value)
    ]
    if changed:
        raise MarginfaceError(
            f"a resumed run cannot change {', '.join(changed)}; "
            "leave that out (--config too, the run has its own), "
            "or start a new run with another --output"
        )
    resumable = {
        name: value
        for name, value in values.items()
        if name in RESUMABLE or _exchangeable(name, getattr(run, name), value)
    }
    if set(LENGTH) & set(resumable):  # a new length replaces the old one, however stated
        resumable = {**dict.fromkeys(LENGTH), **resumable}
    return TrainConfig(**_override(dict(run), resumable))


def coerce(name: str, value: Any) -> Any:
    """Return `value` as the type of key `name`, or raise naming both."""
    field = TrainConfig.model_fields[name]
    typed: Any = field.annotation
    if field.metadata:
        typed = Annotated[typed, *field.metadata]
    check_truth(name, value)
    try:
        return TypeAdapter(typed).validate_python(value)
    except ValidationError as error:
        raise MarginfaceError(one_line(error, name)) from None


def _same(name: str, recorded: Any, given: Any) -> bool:
    if name == "loss_parameters":  # the record has all of them, with defaults
        return all(recorded.get(key) == value for key, value in given.items())
    return bool(recorded == given)


def _exchangeable(name: str, recorded: Any, given: Any) -> bool:
    """Return whether a run may go on with another value of a key, as on another device."""
    return name == "precision" and {recorded, given} <= IN_FLOAT32


def _override(lower: Values, upper: Values) -> dict[str, Any]:
    """Override `lower` by `upper`; drop parameters of a loss or optimizer that `upper` replaces.

    A margin or a weight decay means another thing, or nothing, to another loss or optimizer:
    `--recipe small-set --loss cosface` starts from CosFace's own margin. The scale is kept from
    one loss to another with the same default, to which it means the same.
    """
    values = dict(lower)
    for choice, table in (("optimizer", OPTIMIZER_KEYS), ("schedule", SCHEDULE_KEYS)):
        if _replaces(choice, lower, upper):
            for name in {name for keys in table.values() for name in keys}:
                values.pop(name, None)
    for name, other in (("warmup_steps", "warmup_share"), ("warmup_share", "warmup_steps")):
        if name in upper:  # the two say one thing
            values.pop(other, None)
    if {"people_per_batch", "images_per_person"} & set(upper):  # which say how large a batch is
        values.pop("batch_size", None)
    if "sample_rate" in upper and coerce("sample_rate", upper["sample_rate"]) == 1:
        values.pop("sampling", None)
    parameters = name_value_pairs(values.pop("loss_parameters", {}))
    if _replaces("loss", lower, upper):
        parameters = {}
        values.pop("margin", None)
        before, after = (_chosen("loss", layer) for layer in (lower, upper))
        unknown = awaits_import(before) or awaits_import(after)  # a later layer may replace it
        if unknown or losses.parameters(before)["scale"] != losses.parameters(after)["scale"]:
            values.pop("scale", None)
    parameters = {**parameters, **name_value_pairs(upper.get("loss_parameters", {}))}
    return {**values, **upper, "loss_parameters": parameters}


def _replaces(choice: str, lower: Values, upper: Values) -> bool:
    return choice in upper and upper[choice] != _chosen(choice, lower)


def _chosen(choice: str, layer: Values) -> Any:
    return layer.get(choice, TrainConfig.model_fields[choice].default)
