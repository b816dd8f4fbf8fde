"""What every head plans before it computes: blocks of classes, samples of them, shards."""

from marginface.heads.plan import HeadPlan, plan_head
from marginface.heads.sampling import (
    Sampling,
    check_update,
    draw_classes,
    draw_step,
    split_draw,
)
from marginface.heads.sharding import Shard

__all__ = [
    "HeadPlan",
    "Sampling",
    "Shard",
    "check_update",
    "draw_classes",
    "draw_step",
    "plan_head",
    "split_draw",
]
