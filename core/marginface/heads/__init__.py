"""The plan of a head, common to both frameworks: blocks, samples and shards of classes."""

from marginface.heads.checks import OPTIONS, check_call, check_head, check_logits, head_loss
from marginface.heads.class_state import MOVED, class_rows, recalled
from marginface.heads.initial import WEIGHT_STD
from marginface.heads.measuring import HeadMetrics, check_unshared, measure
from marginface.heads.plan import HeadPlan, Precision, check_precision, plan_head
from marginface.heads.sampling import (
    Sampling,
    check_update,
    draw_classes,
    draw_step,
    split_sample,
)
from marginface.heads.sharding import (
    ONCE,
    UPDATE_APART,
    Shard,
    own_draw,
    own_rows,
    shard_rows,
    whole_shape,
)
from marginface.heads.stepping import (
    COUNT,
    MAX_UPSTREAM,
    SCALED,
    check_learning_rate,
    check_loss_scale,
    check_upstream,
    update_slots,
)

__all__ = [
    "COUNT",
    "MAX_UPSTREAM",
    "MOVED",
    "ONCE",
    "OPTIONS",
    "SCALED",
    "UPDATE_APART",
    "WEIGHT_STD",
    "HeadMetrics",
    "HeadPlan",
    "Precision",
    "Sampling",
    "Shard",
    "check_call",
    "check_head",
    "check_learning_rate",
    "check_logits",
    "check_loss_scale",
    "check_precision",
    "check_unshared",
    "check_update",
    "check_upstream",
    "class_rows",
    "draw_classes",
    "draw_step",
    "head_loss",
    "measure",
    "own_draw",
    "own_rows",
    "plan_head",
    "recalled",
    "shard_rows",
    "split_sample",
    "update_slots",
    "whole_shape",
]
