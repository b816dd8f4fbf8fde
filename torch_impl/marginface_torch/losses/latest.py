"""What losses share that keep each class's latest embedding."""

from typing import TypeVar

from torch import Tensor

from marginface.losses import LatestEmbedding, Sample
from marginface_torch.losses.base import LossOps, Tensors

Latest = TypeVar("Latest", bound=LatestEmbedding)


class LatestEmbeddingOps(LossOps[Latest]):
    """Base of losses that keep each class's latest embedding, and the step that it came at."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Count the step; there is nothing to prepare."""
        return {}, {"step": state["step"] + 1}

    def remember(self, rows: Tensors, samples: Sample, state: Tensors) -> dict[str, Tensor]:
        """Return the samples' embeddings, and the step."""
        return {"latest": samples.embedding, "seen": state["step"].expand_as(rows["seen"])}
