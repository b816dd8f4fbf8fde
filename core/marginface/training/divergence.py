"""Stop a run whose numbers are no longer finite, before they reach a checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path
from shlex import quote

from marginface.errors import TrainingDivergedError
from marginface.learner import Group, Learner, StepResult
from marginface.training.config.keys import TrainConfig


def require_finite_step(
    result: StepResult, config: TrainConfig, step: int, rate: float, checkpoint: Path | None
) -> None:
    """Raise TrainingDivergedError if the loss or the gradient of `step` (from 1) is not finite.

    In float16 a gradient may overflow, and its step is left out, until no factor on the loss helps.
    """
    if not math.isfinite(result.loss):
        raise _diverged(f"the loss became {result.loss} at step {step}", config, rate, checkpoint)
    if result.scaling is not None and result.scaling.factor >= 1:
        return  # the step was left out, and the next one is taken with a smaller factor
    if not math.isfinite(result.gradient_norm):
        problem = f"the gradient norm became {result.gradient_norm} at step {step}"
        if result.scaling is not None:
            problem += ", in float16 without any factor on the loss"
        raise _diverged(problem, config, rate, checkpoint)


def require_finite_arrays(
    learner: Learner,
    group: Group,
    config: TrainConfig,
    step: int,
    rate: float,
    checkpoint: Path | None,
) -> None:
    """Raise TrainingDivergedError, on all processes, if one's array is not finite after `step`."""
    answers = group.exchange(json.dumps(learner.first_not_finite()))
    if names := [name for name in map(json.loads, answers) if name is not None]:
        problem = f"{min(names)} holds NaN or infinite values after step {step}"
        raise _diverged(problem, config, rate, checkpoint)


def _diverged(
    problem: str, config: TrainConfig, rate: float, checkpoint: Path | None
) -> TrainingDivergedError:
    margin = f", margin {config.margin}" if config.margin is not None else ""
    again = (
        f"`marginface train --output {quote(str(config.output))} --resume --lr {config.lr / 10:g}`"
    )
    advice = f"no checkpoint exists yet; {again} starts again at a tenth of the rate"
    warmup = f"{config.warmup_steps} steps"
    if config.warmup_share is not None:
        warmup = f"{config.warmup_share:.0%} of the run"
    if checkpoint:
        advice = f"{again} goes on from the last good checkpoint, {checkpoint}"
    return TrainingDivergedError(
        f"{problem}; {advice}; likely causes: a learning rate (here {rate:.3g}, batch "
        f"{config.batch_size}) that is too high, too little warm-up ({warmup}), "
        f"or scale {config.scale}{margin} too large for {config.embedding_size} dimensions"
    )
