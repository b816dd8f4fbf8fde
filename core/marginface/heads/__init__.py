"""What every head plans before it computes: blocks of classes, samples of them, shards."""

from marginface.heads.plan import HeadPlan, plan_head

__all__ = ["HeadPlan", "plan_head"]
