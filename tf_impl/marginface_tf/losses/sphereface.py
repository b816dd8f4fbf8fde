"""SphereFace, annealed, and SphereFace-R: a multiplied angle."""

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses.sphereface import SphereFace, SphereFaceRV1, SphereFaceRV2
from marginface_tf.losses.angular import AngularOps
from marginface_tf.losses.base import LossOps, Tensors, angles_to_all, inverse_sine, with_slope


class SphereFaceOps(AngularOps[SphereFace]):
    """target logit = scale * |x| * (lambda cos(theta) + psi(theta)) / (1 + lambda)."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return lambda as `annealing`, and the next step."""
        step = state["step"] + 1
        falling = self.spec.lambda_base / (1 + self.spec.gamma * tf.cast(step, cosines.dtype))
        annealing = tf.maximum(falling, self.spec.lambda_min)
        return {"annealing": annealing * tf.ones_like(cosines)}, {"step": step}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return (lambda cos(theta) + psi(theta)) / (1 + lambda)."""
        annealing = prepared["annealing"]
        psi, _ = self.angular(cosines, self.spec.margin, 0.0)
        return (annealing * cosines + psi) / (1 + annealing)


class SphereFaceRV1Ops(AngularOps[SphereFaceRV1]):
    """target logit = scale * cos(min(margin theta, pi))."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(min(margin theta, pi))."""
        return self.angular(cosines, self.spec.margin, 0.0)[0]


class SphereFaceRV2Ops(LossOps[SphereFaceRV2]):
    """logit_j = scale * cos(theta_j / margin)."""

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta_j / margin)."""
        divided, slope = angles_to_all(cosines) / self.spec.margin, None
        if self.spec.gradient == "exact":
            slope = tf.sin(divided) / self.spec.margin * inverse_sine(cosines)
        return with_slope(tf.cos(divided), slope, cosines)
