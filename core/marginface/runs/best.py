"""The best checkpoint of a run, as each of its checkpoints records which it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from marginface.runs.checkpoints import Count, Record


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Best:
    """The verification that was the best so far, whose checkpoint is kept.

    Args:
        metric: by which it is the best: SET:METRIC.
        value: of the metric.
        step: of the verification and its checkpoint.
        since: verifications after it, none of them better.
    """

    metric: Annotated[str, Field(max_length=10_000)]
    value: Annotated[float, Field(allow_inf_nan=False)]
    step: Count
    since: Count = 0

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.4f} at step {self.step}"


def best_of(record: Record) -> Best | None:
    """Return which checkpoint was the best when one was made; None where none was kept."""
    try:
        return Best(**record.extra["progress"]["best"])
    except (KeyError, TypeError, ValidationError):
        return None
