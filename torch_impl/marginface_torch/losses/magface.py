"""MagFace: a margin that grows with the embedding's norm, and a pull on the norm."""

from torch import Tensor

from marginface.losses.magface import MagFace
from marginface_torch.losses.angular import AngularOps
from marginface_torch.losses.base import Tensors, with_slope


class MagFaceOps(AngularOps[MagFace]):
    """target logit = scale * cos(theta + m(a)), a = clamp(|x|, l_a, u_a)."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta + m(a)); gradient flows through the norm as well."""
        spec = self.spec
        a, inside = self._clamped(norms)
        margin = spec.l_margin + spec.margin_slope * (a - spec.l_a)
        value, slope = self.angular(cosines, 1.0, margin, easy_margin=spec.easy_margin)
        to_norm = slope * spec.margin_slope * inside
        return value + with_slope(norms * 0, to_norm, norms)

    def penalty(self, norms: Tensor) -> Tensor:
        """Return lambda_g g(a)."""
        a, inside = self._clamped(norms)
        highest = self.spec.u_a
        value, slope = a / highest**2 + 1 / a, (1 / highest**2 - 1 / a**2) * inside
        return self.spec.lambda_g * with_slope(value, slope, norms)

    def _clamped(self, norms: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.spec.l_a, self.spec.u_a
        a = norms.detach()
        return a.clamp(low, high), (a >= low) & (a <= high)
