"""ArcNegFace: negatives near the target's logit count more, far ones less."""

from torch import Tensor

from marginface.losses.arcnegface import ArcNegFace
from marginface_torch.losses.angular import AngularOps
from marginface_torch.losses.base import Tensors, with_slope


class ArcNegFaceOps(AngularOps[ArcNegFace]):
    """logit_j = scale * (w (cos_j + 1) - 1), w = alpha exp(-(cos_j - cos(theta + m))^2 / sigma)."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return each sample's a, its target logit before the scale."""
        return {"a": self.target(cosines, norms, {})}, {}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta + margin)."""
        return self.angular(cosines, 1.0, self.spec.margin)[0]

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return w (cos + 1) - 1."""
        spec, c = self.spec, cosines.detach()
        ahead = c - prepared["a"][:, None]
        weight = ahead.square().mul_(-1 / spec.sigma).exp_().mul_(spec.alpha)
        value = (c + 1).mul_(weight).sub_(1)
        if spec.weight_gradient == "detached":
            return with_slope(value, weight, cosines)
        fall = ahead.mul_(c + 1).mul_(2 / spec.sigma)
        return with_slope(value, weight * (1 - fall), cosines)
