"""Progress of a run: the part of a checkpoint besides the learner's arrays."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from marginface.runs.best import Best
from marginface.runs.checkpoints import Count, damaged_record


def _from_plain(value: Any) -> Any:
    return Best(**value) if isinstance(value, dict) else value


@dataclass(config=ConfigDict(strict=True, extra="forbid"))
class Progress:
    """Progress of a run, as a checkpoint holds it besides learner and pipeline.

    Args:
        step: steps taken.
        losses: of the steps since the last line of metrics.
        verified_step: the last step that was verified.
        best_accuracy: the best verification accuracy; None before the first.
        best: the verification whose checkpoint is kept as the best; None if none is.
        compiled_backend: the backend for which compiling was found to pay.
    """

    step: Count = 0
    losses: list[float] = field(default_factory=list)
    verified_step: Count = 0
    best_accuracy: float | None = None
    best: Annotated[Best | None, BeforeValidator(_from_plain)] = None
    compiled_backend: str | None = None

    @property
    def verified(self) -> bool:
        """Whether the weights of this step are verified: at step 0 those that a run starts from."""
        return self.best_accuracy is not None and self.verified_step == self.step


class _Pipeline(BaseModel):
    """State of the input pipeline; which images, seed and batch it must have, it checks itself."""

    model_config = ConfigDict(strict=True)

    seed: Count
    batch_size: Annotated[Count, Field(ge=1)]
    people_per_batch: Annotated[Count, Field(ge=1)] | None = None
    augment: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=100)]
    images: Count
    images_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    next_batch: Count


def read_progress(path: Path, step: int, extra: dict[str, Any]) -> tuple[Progress, dict[str, Any]]:
    """Return a checkpoint's progress and the state of its input pipeline.

    Args:
        path: of the checkpoint.
        step: steps taken, as it says.
        extra: its plain values.

    Raises:
        MarginfaceError: they are not what a run writes.
    """
    try:
        progress = Progress(**extra["progress"])
        pipeline = _Pipeline(**extra["pipeline"])
    except (KeyError, TypeError, ValidationError):
        raise damaged_record(path) from None
    steps_agree = progress.verified_step <= progress.step == pipeline.next_batch == step
    if not steps_agree or pipeline.images < pipeline.batch_size:
        raise damaged_record(path)
    return progress, pipeline.model_dump()
