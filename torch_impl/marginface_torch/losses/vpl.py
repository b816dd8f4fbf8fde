"""VPL: class weights lean to the latest embedding of their class."""

from torch import Tensor

from marginface.losses import Memory
from marginface.losses.vpl import VPL
from marginface_torch.losses.angular import AngularOps
from marginface_torch.losses.base import Tensors
from marginface_torch.losses.latest import LatestEmbeddingOps


class VPLOps(LatestEmbeddingOps[VPL], AngularOps[VPL]):
    """target logit = scale * cos(theta + margin), to (1 - l) w / |w| + l (latest embedding)."""

    def recall(self, rows: Tensors, state: Tensors) -> Memory:
        """Return the share of the classes' latest embeddings, in this step."""
        step, seen, latest = state["step"] + 1, rows["seen"], rows["latest"]
        counts = (step > self.spec.start_step) & (seen > 0) & (step - seen <= self.spec.window)
        return Memory(counts.to(latest.dtype) * self.spec.share, latest)

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta + margin)."""
        return self.angular(cosines, 1.0, self.spec.margin)[0]
