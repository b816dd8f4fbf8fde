"""What a run says about its device and its precision."""

from __future__ import annotations

from marginface.learner import StepResult
from marginface.training.config.keys import TrainConfig

SLOW_ON_A_CPU = {
    "bfloat16": "bfloat16 on the CPU is no faster: without instructions for it (AMX or "
    "AVX512-BF16) a step takes 3 to 4 times as long as in float32",
    "float16": "float16 on the CPU is slow: without instructions for it (AVX512-FP16) a step takes "
    "up to 10 times as long as in float32; bfloat16 is faster here",
}


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
    if device == "cpu" and config.precision in SLOW_ON_A_CPU:
        lines.append(SLOW_ON_A_CPU[config.precision])
    return lines


def left_out(result: StepResult, step: int) -> str:
    """Say that a step was left out."""
    assert result.scaling is not None
    return (
        f"step {step} left out: a gradient overflowed; the loss is scaled by "
        f"{result.scaling.factor:g}"
    )


def how_many_left_out(skipped: int, taken: int) -> str:
    """Say how many of a start's steps were left out.

    >>> how_many_left_out(3, 40)
    '3 of 40 steps were left out, as gradients overflowed'
    """
    if skipped == taken:
        return (
            f"all of the {taken} steps were left out, as gradients overflowed: the backbone "
            "learned nothing; take more steps, or precision bfloat16"
        )
    return f"{skipped} of {taken} steps were left out, as gradients overflowed"
