"""The two passes over the classes that a head makes; `passes` draws the order of events.

Logits of [batch, classes] never exist: a block's are made, added up and dropped, and made a second
time for the gradient where they could not be kept. One block with everything kept is the ordinary
dense head.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses import Memory
from marginface_tf.heads.blocks import BlockInputs, Parameters, PassInputs, TargetClasses, Terms
from marginface_tf.heads.passes import (
    Backward,
    Forward,
    GradientSource,
    after,
    gradient_passes,
    passes,
)
from marginface_tf.heads.stepping import Update, UpdateSource
from marginface_tf.losses.base import Tensors


def target_cosines(
    embeddings: Tensor, parameters: Parameters | Update, inputs: PassInputs
) -> Tensor:
    """Return each sample's cosine with its own class, [batch]: `Terms.cosines`, no gradient."""
    target = TargetClasses(inputs.ops.spec, inputs.plan, inputs.labels)
    vectors = parameter_source(parameters, inputs).target(target).vectors(embeddings.dtype)
    return target.cosines(tf.stop_gradient(embeddings), tf.stop_gradient(vectors))


def class_terms(
    embeddings: Tensor, norms: Tensor | None, parameters: Parameters | Update, inputs: PassInputs
) -> Terms:
    """Return the terms of all samples' losses.

    Args:
        embeddings: [batch, embedding_size], of length 1 where the loss is normalised.
        norms: [batch], which logits are multiplied by besides the loss's scale; None for nothing.
        parameters: class weights and bias, which get gradients or are stepped in the backward pass.
        inputs: everything else.
    """
    sources = {"embeddings": embeddings, "norms": norms}  # of gradients
    if isinstance(parameters, Parameters):
        sources |= {"weight": parameters.weight, "bias": parameters.bias}
        if inputs.plan.constant:
            del sources["weight"]
    elif parameters.learning:
        sources["anchor"] = parameters.anchor
    sources = {name: value for name, value in sources.items() if value is not None}

    @tf.custom_gradient
    def terms(*values: Tensor) -> tuple[tuple[Tensor, ...], Callable[..., list[Tensor]]]:
        # The gradient is ours: a tape outside must not follow, nor could it, into XLA's loops.
        fixed = dict(zip(sources, map(tf.stop_gradient, values), strict=True))
        block_inputs = BlockInputs(
            fixed["embeddings"],
            inputs.radius,
            fixed.get("norms"),
            inputs.prepared,
            inputs.labels,
            inputs.log_weights,
            inputs.used,
            inputs.interclass_filter,
        )
        forward, backward = _passes(fixed, parameters, inputs)
        all_terms, kept_products = forward(block_inputs)

        def gradients(*upstream: Tensor) -> list[Tensor]:
            d_terms = Terms(*map(tf.stop_gradient, upstream))
            by_name = backward(block_inputs, kept_products, all_terms.others, d_terms)
            if "anchor" in sources:
                d_anchor = tf.zeros_like(fixed["anchor"])
                by_name["anchor"] = after([by_name["embeddings"]], d_anchor)
            return [by_name[name] for name in sources]

        return tuple(all_terms), gradients

    return Terms(*terms(*sources.values()))


def _passes(
    fixed: Tensors, parameters: Parameters | Update, inputs: PassInputs
) -> tuple[Forward, Backward]:
    if isinstance(parameters, Update):
        return passes(inputs.ops, inputs.plan, parameter_source(parameters, inputs))
    weight = parameters.weight if inputs.plan.constant else fixed["weight"]
    constant = Parameters(weight, fixed.get("bias"), _memory_of_all(inputs))
    return gradient_passes(inputs.ops, inputs.plan, constant)


def parameter_source(
    parameters: Parameters | Update, inputs: PassInputs
) -> GradientSource | UpdateSource:
    """Return where a pass reads parameters, and leaves their gradients."""
    spec, plan = inputs.ops.spec, inputs.plan
    if isinstance(parameters, Update):
        sampled, used, memories = inputs.sampled, inputs.used, inputs.memories
        return UpdateSource(parameters, plan, spec.num_centers, sampled, used, memories)
    return GradientSource(spec, plan, parameters._replace(memory=_memory_of_all(inputs)))


def _memory_of_all(inputs: PassInputs) -> Memory | None:
    """Return what the loss mixes into the weights of all classes; None for nothing."""
    return None if inputs.memories is None else inputs.memories.of(None)
