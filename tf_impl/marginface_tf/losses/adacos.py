"""AdaCos: no margin, and a scale that follows the batch."""

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses.adacos import LEAST_COSINE, AdaCos
from marginface_tf.losses.base import LossOps, Tensors


class AdaCosOps(LossOps[AdaCos]):
    """logit_j = s cos(theta_j)."""

    def radius(self, state: Tensors) -> Tensor:
        """Return s."""
        return state["scale"]

    def finish(self, cosines: Tensor, others: Tensor, state: Tensors) -> dict[str, Tensor]:
        """Return s of the batch."""
        count = tf.shape(cosines)[0]
        log_mean = tf.reduce_logsumexp(others) - tf.math.log(tf.cast(count, others.dtype))
        # The lower one of the middle two angles.
        median = tf.sort(cosines, direction="DESCENDING")[(count - 1) // 2]
        scale = log_mean / tf.maximum(median, LEAST_COSINE)
        return {"scale": tf.where(log_mean > 0, scale, state["scale"])}
