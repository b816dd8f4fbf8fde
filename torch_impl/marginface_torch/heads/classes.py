"""The two passes over the classes that a head makes; `passes` draws the order of events.

Logits of [batch, classes] never exist: a block's are made, added up and dropped, and made a second
time for the gradient where they could not be kept. One block with everything kept is the ordinary
dense head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from marginface_torch.heads.blocks import PassInputs, TargetClasses, Terms
from marginface_torch.heads.passes import ClassTerms


def target_cosines(embeddings: Tensor, weight: Tensor, inputs: PassInputs) -> Tensor:
    """Return each sample's cosine with its own class, [batch]: `Terms.cosines`, no gradient."""
    with torch.no_grad():
        target = TargetClasses(inputs, embeddings.dtype)
        return target.cosines(embeddings, target.take(weight))


def class_terms(
    embeddings: Tensor,
    norms: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    inputs: PassInputs,
) -> Terms:
    """Return the terms of all samples' losses.

    Args:
        embeddings: [batch, embedding_size], of length 1 where the loss is normalised.
        norms: [batch], which logits are multiplied by besides the loss's scale; None for nothing.
        weight: [classes * centers, embedding_size].
        bias: [classes], [1] or None.
        inputs: everything else.
    """
    anchor = None
    if inputs.update is not None:
        # Weights that are stepped need no gradient, and frozen embeddings do not either: autograd
        # makes a backward pass only where something needs one.
        anchor = embeddings.new_zeros((), requires_grad=True)
    # PyTorch gives `apply` no types.
    terms = ClassTerms.apply(embeddings, norms, weight, bias, anchor, inputs)  # type: ignore[no-untyped-call]
    return Terms(*terms)
