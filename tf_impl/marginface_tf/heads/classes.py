"""One pass over the classes, a block at a time, forward and backward, with its own gradients.

Logits of [batch, classes] never exist: a block's are made, added up and dropped, and made a second
time for the gradient where they could not be kept. One block with everything kept is the ordinary
dense head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import HeadPlan
from marginface.losses import MarginLoss
from marginface_tf.heads.blocks import Given, Own, Parameters, Terms
from marginface_tf.heads.passes import Backward, Forward, Whole, after, gradient_passes, passes
from marginface_tf.heads.stepping import Stepped, Update
from marginface_tf.losses.base import LossOps, Tensors


@dataclass(frozen=True)
class Classes:
    """What a pass takes beside embeddings and parameters.

    Args:
        ops: the loss.
        prepared: what `ops.prepare` made, [batch] each.
        plan: blocks of the classes, and what is kept.
        labels: and all that follows: see `Seen`.
    """

    ops: LossOps[MarginLoss]
    prepared: Tensors
    plan: HeadPlan
    labels: Tensor
    sampled: Tensor | None = None
    log_weights: Tensor | None = None
    used: Tensor | None = None


def own_cosines(left: Tensor, parameters: Parameters | Update, classes: Classes) -> Tensor:
    """Return each sample's product with its own class, [batch]: `Terms.cosines`, no gradient."""
    own = Own(classes.ops.spec, classes.plan, classes.labels)
    weight = tf.cast(_source(parameters, classes).own(own).weight, left.dtype)
    return own.products(tf.stop_gradient(left), tf.stop_gradient(weight))


def class_terms(
    left: Tensor, radius: Tensor | None, parameters: Parameters | Update, classes: Classes
) -> Terms:
    """Return what the losses of all samples are made of.

    Args:
        left: [batch, embedding_size], of length 1 where the loss is normalised.
        radius: [batch], what logits are multiplied by besides the loss's scale; None for nothing.
        parameters: class weights and bias, which get gradients or are stepped in the backward pass.
        classes: everything else.
    """
    given = {"left": left, "radius": radius}
    if isinstance(parameters, Parameters):
        given |= parameters._asdict()
    elif parameters.learning:
        given["anchor"] = parameters.anchor
    given = {name: value for name, value in given.items() if value is not None}

    @tf.custom_gradient
    def terms(*values: Tensor) -> tuple[tuple[Tensor, ...], Callable[..., list[Tensor]]]:
        # The gradient is ours: a tape outside must not follow, nor could it, into XLA's loops.
        fixed = dict(zip(given, map(tf.stop_gradient, values), strict=True))
        seen = Given(
            fixed["left"],
            fixed.get("radius"),
            classes.prepared,
            classes.labels,
            classes.log_weights,
            classes.used,
        )
        forward, backward = _passes(fixed, parameters, classes)
        found, kept = forward(seen)

        def gradients(*upstream: Tensor) -> list[Tensor]:
            constant = Terms(*map(tf.stop_gradient, upstream))
            slopes = backward(seen, kept, found.others, constant)
            if "anchor" in given:
                slopes["anchor"] = after([slopes["left"]], tf.zeros_like(fixed["anchor"]))
            return [slopes[name] for name in given]

        return tuple(found), gradients

    return Terms(*terms(*given.values()))


def _passes(
    fixed: Tensors, parameters: Parameters | Update, classes: Classes
) -> tuple[Forward, Backward]:
    if isinstance(parameters, Update):
        return passes(classes.ops, classes.plan, _source(parameters, classes))
    constant = Parameters(fixed["weight"], fixed.get("bias"))
    return gradient_passes(classes.ops, classes.plan, constant)


def _source(parameters: Parameters | Update, classes: Classes) -> Whole | Stepped:
    spec, plan = classes.ops.spec, classes.plan
    if isinstance(parameters, Update):
        return Stepped(parameters, plan, spec.num_centers, classes.sampled, classes.used)
    return Whole(spec, plan, parameters)
