"""USS: a softmax over class weights, and one threshold over the classes' latest embeddings."""

from torch import Tensor

from marginface.losses import Memory
from marginface.losses.uss import USS
from marginface_torch.losses.base import Tensors
from marginface_torch.losses.latest import LatestEmbeddingOps


class USSOps(LatestEmbeddingOps[USS]):
    """CosFace's target logit, scale * (cos(theta) - margin); the companion is UniFace."""

    def recall(self, rows: Tensors, state: Tensors) -> Memory:
        """Return which classes have a latest embedding that counts, and these."""
        counts = (rows["seen"] > 0) & (state["step"] + 1 > self.spec.start_step)
        return Memory(counts.to(rows["latest"].dtype), rows["latest"])

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta) - margin."""
        return cosines - self.spec.margin
