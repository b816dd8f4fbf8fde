"""One pass over the classes, a block at a time, forward and backward, with its own gradients.

Logits of [batch, classes] never exist: a block's are made, added up and dropped, and made a second
time for the gradient where they could not be kept. One block with everything kept is the ordinary
dense head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from marginface_torch.heads.blocks import Classes, Own, Terms
from marginface_torch.heads.passes import ClassTerms


def own_cosines(left: Tensor, weight: Tensor, classes: Classes) -> Tensor:
    """Return each sample's product with its own class, [batch]: `Terms.cosines`, no gradient."""
    with torch.no_grad():
        own = Own(classes, left.dtype)
        return own.products(left, own.take(weight))


def class_terms(
    left: Tensor, radius: Tensor | None, weight: Tensor, bias: Tensor | None, classes: Classes
) -> Terms:
    """Return what the losses of all samples are made of.

    Args:
        left: [batch, embedding_size], of length 1 where the loss is normalised.
        radius: [batch], what logits are multiplied by besides the loss's scale; None for nothing.
        weight: [classes * centers, embedding_size].
        bias: [classes], [1] or None.
        classes: everything else.
    """
    anchor = None
    if classes.update is not None:
        # Weights that are stepped ask for no gradient, and embeddings may not: autograd goes back
        # to where somebody does.
        anchor = left.new_zeros((), requires_grad=True)
    # PyTorch gives `apply` no types.
    found = ClassTerms.apply(left, radius, weight, bias, anchor, classes)  # type: ignore[no-untyped-call]
    return Terms(*found)
