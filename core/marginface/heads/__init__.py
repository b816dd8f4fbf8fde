"""What every head plans before it computes: blocks of classes, and samples of them."""

from marginface.heads.plan import HeadPlan, plan_head
from marginface.heads.sampling import (
    Sampling,
    check_update,
    draw_classes,
    draw_step,
    split_draw,
)

__all__ = [
    "HeadPlan",
    "Sampling",
    "check_update",
    "draw_classes",
    "draw_step",
    "plan_head",
    "split_draw",
]
