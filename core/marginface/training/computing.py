"""What a run says about its device and its precision."""

from __future__ import annotations

from marginface.learner import StepResult
from marginface.training.config.keys import TrainConfig

SLOW_ON_A_CPU = (
    "{precision} on the CPU is no faster: without instructions for it (AMX or AVX512-BF16) a step "
    "takes 3 to 4 times as long as in float32"
)


def how_it_computes(config: TrainConfig, device: str) -> list[str]:
    """Say what differs from a step in float32 on the whole batch at once."""
    parts = []
    if config.precision != "full":
        parts.append(f"backbone in {config.precision}")
    if config.accumulation > 1:
        size = config.batch_size // config.accumulation
        parts.append(f"{config.accumulation} micro-batches of {size} images a step")
    if config.recompute:
        parts.append("activations recomputed")
    lines = [", ".join(parts)] if parts else []
    if device == "cpu" and config.precision in ("bfloat16", "float16"):
        lines.append(SLOW_ON_A_CPU.format(precision=config.precision))
    return lines


def left_out(result: StepResult, step: int) -> str:
    """Say that a step was left out, if it was."""
    scaling = result.scaling
    if scaling is None or scaling.steps:
        return ""
    return f"step {step} left out: a gradient overflowed; the loss is scaled by {scaling.factor:g}"
